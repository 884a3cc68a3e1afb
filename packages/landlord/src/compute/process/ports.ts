/**
 * Loopback ports of tenants. `ports/<port>` names the tenant that has the port; the tenant's `ports.json` says
 * which name it is for. A reservation that its tenant does not know is stale, and free. All of it changes only
 * under one kernel lock, held by a child that ends when this process does, so there is nothing to clean up.
 */
import { spawn } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { z } from "zod";
import { messageOf } from "../../domain/errors.ts";
import { ComputeError } from "../provider.ts";
import type { NamedPort } from "./command.ts";
import { FIXED_PATH } from "./launcher.ts";
import { readTextOrNull, type TenantFiles, tenantFiles, writeWhole } from "./tenant-files.ts";

const LOCK_WAIT_SECONDS = 30;

const portsSchema = z.record(z.string(), z.int().min(1).max(65_535));

export interface PortPool {
  readonly dataDir: string;
  readonly portMin: number;
  readonly portMax: number;
  /** Injectable for tests: 0 ≤ x < 1. */
  readonly random: () => number;
}

/** One caller of this process at a time asks for the kernel lock, so waiting costs no children. */
let lastTurn: Promise<unknown> = Promise.resolve();

async function withPortLock<T>(pool: PortPool, work: () => Promise<T>): Promise<T> {
  const turn = lastTurn.then(async () => {
    const unlock = await takeLock(join(pool.dataDir, "ports.lock"));
    try {
      return await work();
    } finally {
      await unlock();
    }
  });
  lastTurn = turn.catch(() => undefined);
  return turn;
}

function takeLock(file: string): Promise<() => Promise<void>> {
  return new Promise((resolve, reject) => {
    const holder = spawn(
      "flock",
      ["-w", String(LOCK_WAIT_SECONDS), file, "sh", "-c", "echo held; exec cat >/dev/null"],
      {
        env: { PATH: FIXED_PATH },
        detached: true,
        stdio: ["pipe", "pipe", "ignore"],
      },
    );
    const fail = (cause: unknown) =>
      reject(
        new ComputeError(
          "port_lock_failed",
          `The lock of the port reservations (${file}) was not got: ${messageOf(cause)}.`,
          {
            retryable: true,
            cause,
          },
        ),
      );
    const ended = new Promise<void>((done) => holder.once("close", () => done()));
    holder.once("error", fail);
    holder.once("exit", (code) => fail(new Error(`flock ended with ${code}`)));
    holder.stdin.on("error", () => undefined);
    holder.stdout.once("data", () =>
      resolve(() => {
        holder.stdin.end();
        return ended;
      }),
    );
  });
}

function isBindable(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function readPorts(files: TenantFiles): Promise<Record<string, number>> {
  const text = await readTextOrNull(files.portsFile);
  if (text === null) return {};
  try {
    return portsSchema.parse(JSON.parse(text));
  } catch {
    return {};
  }
}

const reservationFile = (pool: PortPool, port: number) => join(pool.dataDir, "ports", String(port));
const reservationText = ({ owner }: TenantFiles) => `${owner.instanceId}/${owner.tenantId}\n`;

/** Takes the port if nobody has it; a reservation that its tenant does not know counts as nobody's. */
async function tryReserve(pool: PortPool, files: TenantFiles, port: number): Promise<boolean> {
  const file = reservationFile(pool, port);
  const holder = await readTextOrNull(file);
  if (holder !== null && holder !== reservationText(files)) {
    const [instanceId = "", tenantId = ""] = holder.trim().split("/");
    const theirs = holder.includes("/")
      ? await readPorts(tenantFiles(pool.dataDir, { instanceId, tenantId }))
      : {};
    if (Object.values(theirs).includes(port)) return false;
  }
  if (!(await isBindable(port))) return false;
  await rm(file, { force: true });
  await writeFile(file, reservationText(files), { flag: "wx", mode: 0o600 });
  return true;
}

async function reserveAny(pool: PortPool, files: TenantFiles, taken: ReadonlySet<number>): Promise<number> {
  const count = pool.portMax - pool.portMin + 1;
  const start = Math.floor(pool.random() * count);
  for (let step = 0; step < count; step += 1) {
    const port = pool.portMin + ((start + step) % count);
    if (!taken.has(port) && (await tryReserve(pool, files, port))) return port;
  }
  throw new ComputeError(
    "no_free_port",
    `Every port from ${pool.portMin} to ${pool.portMax} is taken. Widen compute.process.port_min and port_max.`,
    { retryable: true },
  );
}

/** Gives a reservation back, if it is the tenant's. */
async function release(pool: PortPool, files: TenantFiles, port: number): Promise<void> {
  const file = reservationFile(pool, port);
  if ((await readTextOrNull(file)) === reservationText(files)) await rm(file, { force: true });
}

/**
 * One port for each name. A name keeps its port for as long as it stays, except when `isOwnLive` says that no
 * workload of the tenant runs and something else listens there. Throws a retryable `no_free_port`.
 */
export async function allocatePorts(
  pool: PortPool,
  files: TenantFiles,
  names: readonly string[],
  isOwnLive: () => Promise<boolean>,
): Promise<readonly NamedPort[]> {
  const before = await readPorts(files);
  if (names.length === 0 && Object.keys(before).length === 0) return [];
  return withPortLock(pool, async () => {
    const known = await readPorts(files);
    await mkdir(join(pool.dataDir, "ports"), { recursive: true, mode: 0o700 });
    const ports: NamedPort[] = [];
    for (const name of names) {
      const kept = known[name];
      const keeps = kept !== undefined && ((await isOwnLive()) || (await tryReserve(pool, files, kept)));
      const taken = new Set([...Object.values(known), ...ports.map(({ port }) => port)]);
      ports.push({ name, port: keeps ? kept : await reserveAny(pool, files, taken) });
    }
    await writeWhole(
      files.portsFile,
      JSON.stringify(Object.fromEntries(ports.map(({ name, port }) => [name, port]))),
    );
    const inUse = new Set(ports.map(({ port }) => port));
    for (const port of Object.values(known)) if (!inUse.has(port)) await release(pool, files, port);
    return ports;
  });
}

/** Gives back ports that a destroyed tenant had; whatever it has again since then is left alone. */
export async function releasePorts(
  pool: PortPool,
  files: TenantFiles,
  ports: readonly number[],
): Promise<void> {
  if (ports.length === 0) return;
  await withPortLock(pool, async () => {
    const again = new Set(Object.values(await readPorts(files)));
    for (const port of ports) if (!again.has(port)) await release(pool, files, port);
  });
}

/** The ports that a folder which was moved away still names. */
export async function portsIn(runDir: string): Promise<readonly number[]> {
  const text = await readTextOrNull(join(runDir, "ports.json"));
  const parsed = text === null ? null : portsSchema.safeParse(JSON.parse(text));
  return parsed?.success === true ? Object.values(parsed.data) : [];
}
