/** Local processes as a kind of compute. The server loads this and the description, never the provider. */
import { randomUUID } from "node:crypto";
import { chmod, link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { ComputeError, type ComputeProviderFactory } from "../provider.ts";
import {
  describeProcess,
  PROCESS_PROVIDER_NAME,
  processEngineConfigSchema,
  resolveEngineConfig,
} from "./description.ts";

/** The scope of a data folder: made once, by whoever comes first, and then for ever the same. */
async function scopeOf(dataDir: string): Promise<string> {
  const file = join(dataDir, "scope");
  const draft = `${file}.${randomUUID()}`;
  await writeFile(draft, `process:${hostname()}:${randomUUID()}\n`, { mode: 0o600 });
  try {
    // A link never replaces: of several workers that start at once, one wins and all read the same.
    await link(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return (await readFile(file, "utf8")).trim();
}

export const processComputeFactory: ComputeProviderFactory = {
  name: PROCESS_PROVIDER_NAME,
  engineConfigSchema: processEngineConfigSchema,
  secretKeys: [],
  boundToScope: true,
  describe: describeProcess,
  async create(engineConfig, context) {
    if (process.platform !== "linux") {
      throw new ComputeError(
        "unsupported_platform",
        `The process provider needs Linux (flock, /proc), and this is ${process.platform}. Run the worker on Linux, or use another compute provider.`,
        { retryable: false },
      );
    }
    const config = resolveEngineConfig(engineConfig);
    const dataDir = resolve(config.dataDir ?? join(context.dataDir, "process"));
    await mkdir(join(dataDir, "trash"), { recursive: true, mode: 0o700 });
    // Launch files hold the environment of workloads.
    await chmod(dataDir, 0o700);
    const [{ ProcessComputeProvider }, { detectCgroups, NO_CGROUPS }] = await Promise.all([
      import("./provider.ts"),
      import("./cgroup.ts"),
    ]);
    return new ProcessComputeProvider({
      dataDir,
      scope: await scopeOf(dataDir),
      cgroups: config.cgroup === "auto" ? await detectCgroups() : NO_CGROUPS,
      logLimitBytes: config.logLimitBytes,
      portMin: config.portMin,
      portMax: config.portMax,
      random: Math.random,
    });
  },
};
