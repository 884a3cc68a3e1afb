/** `landlord dev` as a user starts it. Nothing here knows the application's code. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const LANDLORD = `${ROOT}packages/landlord/bin/landlord.mjs`;

export interface Dev {
  readonly url: string;
  readonly process: ChildProcess;
  output(): string;
  /** The supervisor itself, beneath the launcher that npm or the bin puts in front. */
  supervisorPid(): number;
  /** Pids of the parts, by what they run. */
  parts(): {
    readonly server: number;
    readonly worker: number;
    readonly restate: number;
    readonly postgres: number;
  };
  stop(): Promise<number | null>;
}

export async function startDev(
  folder: string,
  options: {
    readonly port?: number;
    readonly command?: readonly string[];
    readonly cwd?: string;
    readonly env?: Record<string, string>;
  } = {},
): Promise<Dev> {
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  const [program = process.execPath, ...words] = options.command ?? [process.execPath, LANDLORD, "dev"];
  const child = spawn(program, [...words, "--port", String(port), "--data-dir", folder], {
    cwd: options.cwd ?? folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => output.push(chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  await until("landlord dev is ready", 120_000, async () => {
    if (child.exitCode !== null)
      throw new Error(`landlord dev ended with ${child.exitCode}: ${output.join("")}`);
    return output.join("").includes("Ready in") && (await fetch(`${url}/ready`)).status === 200;
  });
  const supervisorPid = (): number =>
    descendantsOf(child.pid ?? 0).find(
      ({ command }) => / dev( |$)/.test(command) && command.includes("main."),
    )?.pid ??
    child.pid ??
    0;
  return {
    url,
    process: child,
    output: () => output.join(""),
    supervisorPid,
    parts() {
      const children = descendantsOf(supervisorPid());
      const pidOf = (pattern: RegExp): number => {
        const found = children.filter(({ command }) => pattern.test(command))[0];
        if (found === undefined) throw new Error(`no process matches ${pattern}`);
        return found.pid;
      };
      return {
        server: pidOf(/main\.(ts|cjs) serve/),
        worker: pidOf(/main\.(ts|cjs) worker/),
        restate: pidOf(/restate-server/),
        postgres: pidOf(/postgres -D|postgres .*-D/),
      };
    },
    async stop() {
      child.kill("SIGTERM");
      return exited;
    },
  };
}

export interface ProcessInfo {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

function allProcesses(): readonly ProcessInfo[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const stat = readFileSync(`/proc/${entry}/stat`, "latin1");
        const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        if (fields[0] === "Z") return [];
        const command = readFileSync(`/proc/${entry}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        return [{ pid: Number(entry), parent: Number(fields[1]), command }];
      } catch {
        return [];
      }
    });
}

function descendantsOf(pid: number): readonly ProcessInfo[] {
  const all = allProcesses();
  const found: ProcessInfo[] = [];
  let parents = new Set([pid]);
  while (parents.size > 0) {
    const next = all.filter((candidate) => parents.has(candidate.parent));
    found.push(...next);
    parents = new Set(next.map((child) => child.pid));
  }
  return found;
}

/** Runs the command line and returns what it printed. */
export function landlord(
  url: string,
  ...words: string[]
): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const run = spawnSync(process.execPath, [LANDLORD, "--api-url", url, ...words], {
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

export async function until(
  what: string,
  timeoutMs: number,
  look: () => Promise<boolean> | boolean,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  let last: unknown;
  while (performance.now() < deadlineMs) {
    try {
      if (await look()) return;
    } catch (error) {
      last = error;
      if (error instanceof Error && error.message.startsWith("landlord dev ended")) throw error;
    }
    await delay(50);
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: last });
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

export function isAlive(pid: number): boolean {
  return allProcesses().some((candidate) => candidate.pid === pid);
}

export interface TenantView {
  readonly id: string;
  readonly status: string;
  readonly generation: number;
  readonly observed_generation: number;
  readonly endpoints: readonly { readonly url: string; readonly port: number }[];
  readonly observed_resource_ids: Readonly<Record<string, string>>;
}

export async function getTenant(url: string, name: string): Promise<TenantView | null> {
  const answer = await fetch(`${url}/v1/tenants/${name}`);
  return answer.status === 200 ? ((await answer.json()) as TenantView) : null;
}

export async function waitForStatus(url: string, name: string, status: string): Promise<TenantView> {
  let tenant: TenantView | null = null;
  await until(`${name} is ${status}`, 60_000, async () => {
    tenant = await getTenant(url, name);
    return (
      tenant?.status === status && (status !== "ready" || tenant.observed_generation === tenant.generation)
    );
  });
  if (tenant === null) throw new Error("unreachable");
  return tenant;
}

export const webServer = (text: string): string =>
  JSON.stringify({
    command: [
      process.execPath,
      "-e",
      `require("http").createServer((_, r) => r.end(${JSON.stringify(text)})).listen(process.env.PORT, "127.0.0.1")`,
    ],
    ports: [{}],
    health_check: { type: "http", path: "/" },
  });
