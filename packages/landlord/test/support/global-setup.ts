/** One real PostgreSQL and one real Restate for all test files; each test isolates itself by database and namespace. */
import { mkdtemp, chmod, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startEmbeddedPostgres } from "../../src/store/embedded/embedded-postgres.ts";
import { startEmbeddedRestate } from "../../src/workflow/restate/embedded/embedded-restate.ts";

declare module "vitest" {
  export interface ProvidedContext {
    postgresUrl: string;
    restateIngressUrl: string;
    restateAdminUrl: string;
  }
}

const quiet = {
  info: () => undefined,
  warn: (fields: object, message: string) => console.warn(message, fields),
};

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(join(tmpdir(), "landlord-test-"));
  await chmod(dataDir, 0o755);
  const [postgres, restate] = await Promise.all([
    startEmbeddedPostgres({
      dataDir: join(dataDir, "postgres"),
      port: null,
      logFile: join(dataDir, "postgres.log"),
      log: quiet,
    }),
    startEmbeddedRestate({
      dataDir: join(dataDir, "restate"),
      ports: null,
      requestIdentityKeyFile: null,
      logFile: join(dataDir, "restate.log"),
      log: quiet,
    }),
  ]);
  project.provide("postgresUrl", postgres.url);
  project.provide("restateIngressUrl", restate.ingressUrl);
  project.provide("restateAdminUrl", restate.adminUrl);
  return async () => {
    await Promise.all([postgres.stop(), restate.stop()]);
    await rm(dataDir, { recursive: true, force: true });
  };
}
