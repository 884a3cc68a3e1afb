/** Beyond loopback, and TLS: what is refused, what is warned of, and what is spoken. */
import { execFileSync } from "node:child_process";
import { readFile, mkdtemp, rm } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startServer, type RunningServer } from "../../src/start/server.ts";
import type { Logger } from "../../src/telemetry/logger.ts";
import { ADMIN_TOKEN, bearer } from "../auth/access-system.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { randomNamespace, serverConfig, testSettings } from "../support/system.ts";

let folder: string;
let database: TestDatabase;
const servers: RunningServer[] = [];
const file = (name: string): string => join(folder, name);

function openssl(...args: readonly string[]): void {
  execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
}

function makeRoot(name: string): void {
  openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
    "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.pem`); // prettier-ignore
}

function makeCertificate(name: string, root: string): void {
  openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", `${name}.key`, "-out", `${name}.csr`); // prettier-ignore
  openssl("x509", "-req", "-in", `${name}.csr`, "-CA", `${root}.pem`, "-CAkey", `${root}.key`, "-CAcreateserial",
    "-days", "2", "-copy_extensions", "copy", "-out", `${name}.pem`); // prettier-ignore
}

beforeAll(async () => {
  [folder, database] = await Promise.all([mkdtemp(join(tmpdir(), "landlord-tls-")), createTestDatabase()]);
  makeRoot("root");
  makeRoot("clients");
  makeCertificate("server", "root");
  makeCertificate("client", "clients");
  makeCertificate("stranger", "root");
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});
afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

const AUTH = { "auth.enabled": "true", "auth.admin_token": ADMIN_TOKEN };
const tls = () => ({ "http.tls.cert_file": file("server.pem"), "http.tls.key_file": file("server.key") });

async function start(
  settings: Readonly<Record<string, unknown>>,
): Promise<{ url: string; warnings: string[] }> {
  const warnings: string[] = [];
  const ignore = (): void => undefined;
  const logger = {
    trace: ignore,
    debug: ignore,
    info: ignore,
    warn: (_: object, message: string) => void warnings.push(message),
    error: ignore,
    child: () => logger,
  } as unknown as Logger;
  const config = serverConfig({
    ...testSettings(folder, randomNamespace()),
    "database.url": database.url,
    "http.port": 0,
    "controller.enabled": "false",
    "compute.mock": {},
    ...settings,
  });
  const server = await startServer(config, logger, new AbortController().signal);
  servers.push(server);
  return { url: server.url, warnings };
}

async function statusOf(url: string, client: string | null, token = ADMIN_TOKEN): Promise<number> {
  const own =
    client === null
      ? {}
      : { cert: await readFile(file(`${client}.pem`)), key: await readFile(file(`${client}.key`)) };
  const ca = await readFile(file("root.pem"));
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}/v1/identity`,
      { ca, ...own, headers: bearer(token), agent: false },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}

describe("beyond loopback", () => {
  it.each(["0.0.0.0", "::", "10.1.2.3"])(
    "on %s a server without authentication does not start",
    async (host) => {
      await expect(start({ "http.host": host })).rejects.toThrow(
        expect.objectContaining({ code: "open_bind_refused" }),
      );
      await expect(start({ "http.host": host, ...tls() })).rejects.toThrow(/auth\.enabled/);
    },
  );

  it("with authentication it starts, and without TLS it warns", async () => {
    const { url, warnings } = await start({ "http.host": "0.0.0.0", ...AUTH });
    expect(warnings.some((message) => message.includes("WITHOUT TLS"))).toBe(true);
    const local = url.replace("0.0.0.0", "127.0.0.1");
    expect((await fetch(`${local}/v1/identity`)).status).toBe(401);
    expect((await fetch(`${local}/v1/identity`, { headers: bearer(ADMIN_TOKEN) })).status).toBe(200);
    const quiet = await start({ "http.host": "0.0.0.0", ...AUTH, ...tls() });
    expect(quiet.warnings.some((message) => message.includes("WITHOUT TLS"))).toBe(false);
  });

  it("commands of clients are run only where that is allowed", async () => {
    const open = { "http.host": "0.0.0.0", ...AUTH, ...tls() };
    await expect(start({ ...open, "compute.process": {} })).rejects.toThrow(
      expect.objectContaining({ code: "process_beyond_loopback" }),
    );
    const allowed = { "compute.process": { allow_beyond_loopback: true } };
    expect((await start({ ...open, ...allowed })).url).toMatch(/^https:/);
    expect((await start({ ...AUTH, "compute.process": {} })).url).toMatch(/^http:/);
  });

  it("authentication that nobody can pass is warned of", async () => {
    const { warnings } = await start({ "auth.enabled": "true" });
    await expect.poll(() => warnings.some((message) => message.includes("nobody can get in"))).toBe(true);
  });
});

describe("TLS", () => {
  it("is spoken with the configured certificate, and nothing else is", async () => {
    const { url } = await start({ ...AUTH, ...tls() });
    expect(url).toMatch(/^https:/);
    expect(await statusOf(url, null)).toBe(200);
    expect(await statusOf(url, null, "wrong-wrong-wrong-wrong")).toBe(401);
    await expect(fetch(url.replace("https:", "http:"))).rejects.toThrow();
  });

  it("with client_ca_file wants a certificate that one of its roots signed", async () => {
    const { url } = await start({ ...AUTH, ...tls(), "http.tls.client_ca_file": file("clients.pem") });
    expect(await statusOf(url, "client")).toBe(200);
    await expect(statusOf(url, null)).rejects.toThrow();
    await expect(statusOf(url, "stranger")).rejects.toThrow();
  });

  it("whose files are not there is no start", async () => {
    const missing = { ...tls(), "http.tls.key_file": file("nowhere.key") };
    await expect(start({ ...AUTH, ...missing })).rejects.toThrow(
      expect.objectContaining({
        code: "tls_files_unreadable",
        message: expect.stringContaining("http.tls.key_file") as string,
      }),
    );
  });
});
