/**
 * The main job, unattended, on real parts: starts the embedded system in a temporary folder, and drives one tenant
 * through its life with the public command line and HTTP. Exit code 0 only if every step was observed.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, chmodSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const TENANT = "demo";
const START_TIMEOUT_MS = 60_000;
const STEP_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 45_000;

/** Another program in the place of `landlord`, for the test that sabotages each step. */
const cli = argumentOf("--cli") ?? join(ROOT, "packages/landlord/bin/landlord.mjs");

interface Tenant {
  readonly status: string;
  readonly generation: number;
  readonly observed_generation: number;
  readonly endpoints: readonly { readonly url: string; readonly port: number }[];
  readonly observed_resource_ids: Readonly<Record<string, string>>;
}

const startedMs = performance.now();
let system: ChildProcess | null = null;
let apiUrl = "";
let stepNumber = 0;

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "landlord-demo-"));
  chmodSync(folder, 0o711);
  const output: string[] = [];
  try {
    await step("start PostgreSQL, Restate, server and worker on free ports", () =>
      startSystem(folder, output),
    );
    const created = await step("create tenant “demo”: a web server that says “hello”", () => createTenant());
    const url = created.endpoints[0]?.url ?? "";
    await step(`its endpoint ${url} answers “hello”`, () => expectAnswer(url, "hello"));
    const changed = await step("change it: say “good evening”", () => changeTenant(created));
    const changedUrl = changed.endpoints[0]?.url ?? "";
    await step(`its endpoint ${changedUrl} answers “good evening”`, () =>
      expectAnswer(changedUrl, "good evening"),
    );
    await step("archive it: no compute, the record stays", () => archiveTenant(changed));
    await step("delete it", () => deleteTenant());
    await step("nothing is left: no record, no process, no open port; the history remains", () =>
      expectNothing(changed),
    );
    await step("stop everything", () => stopSystem());
  } catch (error) {
    write(`  ✗ ${error instanceof Error ? error.message : String(error)}\n`);
    if (output.length > 0)
      write(`\nThe system said:\n${output.join("").split("\n").slice(-20).join("\n")}\n`);
    process.exitCode = 1;
  } finally {
    await endSystem();
    rmSync(folder, { recursive: true, force: true });
  }
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  write(
    process.exitCode === 1
      ? `\nThe demo failed after ${seconds} s.\n`
      : `\nDone in ${seconds} s. Next: npm start\n`,
  );
}

async function step<T>(title: string, run: () => Promise<T>): Promise<T> {
  stepNumber += 1;
  write(`${stepNumber}. ${title}\n`);
  const beganMs = performance.now();
  const result = await run();
  write(`  ✓ ${((performance.now() - beganMs) / 1_000).toFixed(1)} s\n`);
  return result;
}

async function startSystem(folder: string, output: string[]): Promise<void> {
  const port = await freePort();
  apiUrl = `http://127.0.0.1:${port}`;
  system = spawn(process.execPath, [cli, "dev", "--port", String(port), "--data-dir", join(folder, "data")], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [system.stdout, system.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      output.push(chunk.toString());
      if (output.length > 200) output.shift();
    });
  }
  await until("the system is ready", START_TIMEOUT_MS, async () => {
    if (system?.exitCode !== null) throw new Fatal(`the system ended with exit code ${system?.exitCode}`);
    // The worker registers a moment after the API answers.
    return output.join("").includes("Ready in") && (await fetch(`${apiUrl}/ready`)).status === 200;
  });
}

async function createTenant(): Promise<Tenant> {
  landlord(
    "create",
    "--tenant-name",
    TENANT,
    "--provider",
    "process",
    "--config",
    configSaying("hello"),
    "--wait",
  );
  const tenant = await getTenant();
  if (tenant?.status !== "ready" || tenant.observed_generation !== 1)
    throw new Error(`the tenant is not ready: ${tenant?.status}`);
  return tenant;
}

async function changeTenant(before: Tenant): Promise<Tenant> {
  landlord("set", TENANT, "--config", configSaying("good evening"), "--wait");
  const tenant = await getTenant();
  if (tenant?.status !== "ready" || tenant.observed_generation <= before.observed_generation) {
    throw new Error("the change did not become ready");
  }
  return tenant;
}

async function archiveTenant(before: Tenant): Promise<void> {
  landlord("archive", TENANT, "--wait");
  const tenant = await getTenant();
  if (tenant?.status !== "archived") throw new Error(`the tenant is not archived: ${tenant?.status}`);
  await expectGone(before);
}

async function deleteTenant(): Promise<void> {
  landlord("delete", TENANT, "--wait");
  if ((await getTenant()) !== null) throw new Error("the tenant is still there");
}

async function expectNothing(before: Tenant): Promise<void> {
  if ((await getTenant()) !== null) throw new Error("the tenant is still there");
  await expectGone(before);
  const history = (await (await fetch(`${apiUrl}/v1/tenants/${TENANT}/history`)).json()) as {
    transitions?: { to_status: string | null }[];
  };
  if (history.transitions?.[0]?.to_status !== null)
    throw new Error("the history does not end with the deletion");
}

/** Asks the kernel, not Landlord. */
async function expectGone(tenant: Tenant): Promise<void> {
  const pid = Number(tenant.observed_resource_ids["pid"]);
  const port = tenant.endpoints[0]?.port ?? 0;
  if (!(pid > 0) || port === 0) throw new Error("the tenant never named its process and port");
  if (isRunning(pid)) throw new Error(`process ${pid} still runs`);
  if (await isOpen(port)) throw new Error(`port ${port} is still open`);
}

async function expectAnswer(url: string, wanted: string): Promise<void> {
  await until(`${url} answers “${wanted}”`, 5_000, async () => (await (await fetch(url)).text()) === wanted);
}

async function stopSystem(): Promise<void> {
  const running = system;
  if (running === null) throw new Error("nothing runs");
  running.kill("SIGTERM");
  await until("everything has stopped", STOP_TIMEOUT_MS, () =>
    Promise.resolve(running.exitCode !== null || running.signalCode !== null),
  );
  if (running.exitCode !== 0)
    throw new Error(`the system ended with ${running.exitCode ?? running.signalCode}`);
  if (await isOpen(Number(new URL(apiUrl).port))) throw new Error("the API still answers");
}

/** After a failure: gently, then not. */
async function endSystem(): Promise<void> {
  const running = system;
  if (running === null || running.exitCode !== null || running.signalCode !== null) return;
  running.kill("SIGTERM");
  await until("stopped", STOP_TIMEOUT_MS, () =>
    Promise.resolve(running.exitCode !== null || running.signalCode !== null),
  ).catch(() => running.kill("SIGKILL"));
}

function landlord(...words: string[]): void {
  write(`    $ landlord ${words.map((word) => (word.startsWith("{") ? "'{…}'" : word)).join(" ")}\n`);
  const run = spawnSync(process.execPath, [cli, "--api-url", apiUrl, ...words], {
    encoding: "utf8",
    timeout: STEP_TIMEOUT_MS,
  });
  for (const line of `${run.stderr}${run.stdout}`.split("\n").filter((text) => text !== ""))
    write(`    ${line}\n`);
  if (run.status !== 0)
    throw new Error(`landlord ${words[0]} ended with exit code ${run.status ?? run.signal}`);
}

function configSaying(text: string): string {
  const script = `require("http").createServer((_, answer) => answer.end(${JSON.stringify(text)})).listen(process.env.PORT, "127.0.0.1")`;
  return JSON.stringify({
    command: [process.execPath, "-e", script],
    ports: [{}],
    health_check: { type: "http", path: "/" },
  });
}

async function getTenant(): Promise<Tenant | null> {
  const answer = await fetch(`${apiUrl}/v1/tenants/${TENANT}`);
  if (answer.status === 404) return null;
  if (answer.status !== 200) throw new Error(`GET of the tenant answered ${answer.status}`);
  return (await answer.json()) as Tenant;
}

/** Ends a wait at once. */
class Fatal extends Error {}

async function until(what: string, timeoutMs: number, look: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  let last = "";
  while (performance.now() < deadlineMs) {
    try {
      if (await look()) return;
    } catch (error) {
      if (error instanceof Fatal) throw error;
      last = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    await delay(100);
  }
  throw new Error(`not within ${timeoutMs / 1_000} s: ${what}${last}`);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        typeof address === "object" && address !== null
          ? resolve(address.port)
          : reject(new Error("no port")),
      );
    });
  });
}

function argumentOf(name: string): string | undefined {
  const index = process.argv.indexOf(name);
  return index < 0 ? undefined : process.argv[index + 1];
}

function write(text: string): void {
  process.stdout.write(text);
}

await main();
