/** The data folder of `landlord dev`: one supervisor at a time, and choices that must survive a restart. */
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join, resolve } from "node:path";
import { z } from "zod";
import { LandlordError } from "../../domain/errors.ts";
import { identityOf, readIdentity, writeIdentity } from "../../os/process-identity.ts";
import { pickFreePorts } from "../../os/supervised.ts";

/** Others must be able to pass through (the database's user), and nobody but us to list. */
const FOLDER_MODE = 0o711;

export interface DevFolder {
  readonly path: string;
  file(...names: string[]): string;
  unlock(): Promise<void>;
}

/** @throws LandlordError `folder_in_use` while another supervisor holds the folder */
export async function openDevFolder(dataDir: string): Promise<DevFolder> {
  const path = resolve(dataDir);
  await mkdir(join(path, "logs"), { recursive: true, mode: FOLDER_MODE });
  const holderFile = join(path, "supervisor.json");
  const lock = await takeLock(path, holderFile);
  const own = identityOf(process.pid);
  if (own !== null) await writeIdentity(holderFile, own);
  return {
    path,
    file: (...names) => join(path, ...names),
    async unlock() {
      await rm(holderFile, { force: true });
      await new Promise((done) => lock.close(done));
    },
  };
}

/**
 * A socket in Linux's abstract namespace, named after the folder's device and inode: the kernel lets one process hold
 * the name, and takes it back when that process ends, however it ends. The file beside it only tells who it is.
 */
async function takeLock(path: string, holderFile: string): Promise<Server> {
  const { dev, ino } = await stat(path);
  const server = createServer((socket) => socket.destroy());
  server.unref();
  try {
    await new Promise<void>((done, reject) => {
      server.once("error", reject);
      server.listen({ path: `\0landlord-dev:${dev}:${ino}` }, done);
    });
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    const holder = await readIdentity(holderFile);
    throw new LandlordError(
      "folder_in_use",
      `${path} is in use by another \`landlord dev\`${holder === null ? "" : ` (pid ${holder.pid})`}. Stop it, or choose another folder with --data-dir and another port with --port.`,
    );
  }
}

const portsSchema = z.object({ api: z.int().min(1), worker: z.int().min(1) });

/**
 * The ports of API and worker. The worker's is kept for ever: an execution in flight retries its old address. The
 * API's is what the user asked for; 0 takes a free one once.
 */
export async function choosePorts(folder: DevFolder, apiPort: number): Promise<z.infer<typeof portsSchema>> {
  const file = folder.file("ports.json");
  const kept = portsSchema.safeParse(await readJson(file));
  const [freeApi = 0, freeWorker = 0] = await pickFreePorts(2);
  const ports = {
    api: apiPort !== 0 ? apiPort : kept.success ? kept.data.api : freeApi,
    worker: kept.success ? kept.data.worker : freeWorker,
  };
  await writeFile(file, `${JSON.stringify(ports)}\n`, { mode: 0o600 });
  return ports;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as unknown;
  } catch {
    return null;
  }
}
