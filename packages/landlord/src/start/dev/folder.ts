/** The data folder of `landlord dev`: one supervisor at a time, and choices that must survive a restart. */
import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import { LandlordError } from "../../domain/errors.ts";
import { identityOf, isAlive, readIdentity, sameProcess, writeIdentity } from "../../os/process-identity.ts";
import { pickFreePorts } from "../../os/supervised.ts";

/** Others must be able to pass through (the database's user), and nobody but us to list. */
const FOLDER_MODE = 0o711;
const LOCK_ATTEMPTS = 5;

export interface DevFolder {
  readonly path: string;
  file(...names: string[]): string;
  unlock(): Promise<void>;
}

/** @throws LandlordError `folder_in_use` while another supervisor holds the folder */
export async function openDevFolder(dataDir: string): Promise<DevFolder> {
  const path = resolve(dataDir);
  await mkdir(join(path, "logs"), { recursive: true, mode: FOLDER_MODE });
  const lockFile = join(path, "supervisor.lock");
  await lock(lockFile, path);
  return {
    path,
    file: (...names) => join(path, ...names),
    unlock: () => rm(lockFile, { force: true }),
  };
}

/** A pid alone is used again after a crash or a reboot; the lock names the process for ever. */
async function lock(lockFile: string, path: string): Promise<void> {
  const own = identityOf(process.pid);
  if (own === null) throw new LandlordError("lock_failed", "This process cannot read its own identity.");
  const draft = `${lockFile}.${randomUUID()}`;
  await writeIdentity(draft, own);
  try {
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
      try {
        // A link never replaces: of several that start at once, one wins.
        await link(draft, lockFile);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = await readIdentity(lockFile);
      if (holder !== null && isAlive(holder) && !sameProcess(holder, own)) {
        throw new LandlordError(
          "folder_in_use",
          `${path} is in use by another \`landlord dev\` (pid ${holder.pid}). Stop it, or choose another folder with --data-dir and another port with --port.`,
        );
      }
      await rm(lockFile, { force: true });
    }
    throw new LandlordError(
      "folder_in_use",
      `${path} could not be locked; is another \`landlord dev\` starting?`,
    );
  } finally {
    await rm(draft, { force: true });
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
