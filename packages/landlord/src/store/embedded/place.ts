/** Which user runs the embedded PostgreSQL, and where its files lie so that this user can reach them. */
import { createHash, randomBytes } from "node:crypto";
import { chmod, chown, lstat, mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { LandlordError } from "../../domain/errors.ts";
import type { SupervisorLog } from "../../os/supervised.ts";
import { canReach, type RunAs } from "./binaries.ts";

/** Used when the data folder is out of reach; unlike /tmp it survives a reboot. */
const FALLBACK_PARENT = "/var/tmp";

/** The folders and secret of one embedded database. */
export interface PostgresPlace {
  /** The caller's folder: password, location, ports, version. */
  readonly dataDir: string;
  /** Where database files and copied programs lie; `dataDir` unless that is out of reach. */
  readonly baseDir: string;
  readonly clusterDir: string;
  readonly password: string;
}

/** PostgreSQL refuses to run as root: then it is `postgres`, or `nobody`. Null runs as this process does. */
export async function chooseUser(): Promise<RunAs | null> {
  if (process.getuid?.() !== 0) return null;
  const lines = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  for (const name of ["postgres", "nobody"]) {
    const entry = lines.find(([user]) => user === name);
    if (entry !== undefined) return { name, uid: Number(entry[2]), gid: Number(entry[3]) };
  }
  throw new LandlordError(
    "postgres_user_missing",
    "PostgreSQL does not run as root, and there is neither a user postgres nor nobody: create one, start as another user, or set database.url.",
  );
}

/** Text that is written once and then for ever the same; of several writers the first wins. */
async function readOrCreate(file: string, text: () => string): Promise<string> {
  try {
    await writeFile(file, text(), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return (await readFile(file, "utf8")).trim();
}

/** The fallback's name can be guessed, so a folder that somebody else put there is refused. */
async function claimFallback(folder: string, user: RunAs): Promise<void> {
  await mkdir(folder, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  const found = await lstat(folder);
  if (!found.isDirectory() || (found.uid !== 0 && found.uid !== user.uid)) {
    throw new LandlordError(
      "postgres_folder_taken",
      `${folder} is not a folder of user ${user.name}: somebody else made it. Remove it, or choose another data folder.`,
    );
  }
  await chown(folder, user.uid, user.gid);
  await chmod(folder, 0o700);
}

/** Settles where everything lies, and says so when it is not where the caller would look. */
export async function preparePlace(
  dataDir: string,
  user: RunAs | null,
  log: SupervisorLog,
): Promise<PostgresPlace> {
  const folder = resolve(dataDir);
  // A folder of our making lets PostgreSQL's user pass, without reading; the password file is closed to it.
  await mkdir(folder, { recursive: true, mode: user === null ? 0o700 : 0o711 });
  const password = await readOrCreate(join(folder, "password"), () => randomBytes(24).toString("base64url"));
  if (password === "") {
    throw new LandlordError(
      "postgres_password_missing",
      `${join(folder, "password")} is empty: restore it, or remove the data folder.`,
    );
  }
  const baseDir = await settleBase(folder, user, log);
  return { dataDir: folder, baseDir, clusterDir: join(baseDir, "pgdata"), password };
}

async function settleBase(folder: string, user: RunAs | null, log: SupervisorLog): Promise<string> {
  if (user === null) return folder;
  const locationFile = join(folder, "location");
  const recorded = await readFile(locationFile, "utf8").catch(() => null);
  const reachable = await canPass(folder, user);
  if (recorded === null && reachable) return folder;
  const fallback = join(
    FALLBACK_PARENT,
    `landlord-${createHash("sha256").update(folder).digest("hex").slice(0, 16)}`,
  );
  // What was recorded stays valid when the folder's rights change later: the data is there.
  const base = recorded?.trim() ?? fallback;
  await claimFallback(base, user);
  if (recorded === null) await writeFile(locationFile, `${base}\n`, { mode: 0o600 });
  log.info({ location: base }, `user ${user.name} cannot reach ${folder}: PostgreSQL's files are in ${base}`);
  return base;
}

async function canPass(folder: string, user: RunAs): Promise<boolean> {
  // The folder may be closed to reading; what counts is that names below it can be reached.
  const probe = join(folder, `reach-${process.pid}`);
  await mkdir(probe, { mode: 0o755 }).catch(() => undefined);
  await chmod(probe, 0o755);
  try {
    return await canReach(probe, user);
  } finally {
    await rmdir(probe).catch(() => undefined);
  }
}
