/** The command line's contexts: which servers a person works with, and with which tokens. */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { messageOf } from "../domain/errors.ts";
import { ConfigError } from "./load.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Tokens are in it. */
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;
const CONTEXTS_LIMIT = 1_000;

export const CONTEXT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

const contextSchema = z.strictObject({
  server: z.string().regex(/^https?:\/\/\S+$/, "must be a URL like https://landlord.example"),
  token: z.string().min(1).optional(),
});
const contextsSchema = z.strictObject({
  current: z.string().nullish(),
  contexts: z
    .record(z.string().regex(CONTEXT_NAME), contextSchema)
    .refine((all) => Object.keys(all).length <= CONTEXTS_LIMIT, `must be ${CONTEXTS_LIMIT} at most`)
    .default({}),
});

export interface Context {
  /** Base URL of an API. */
  readonly server: string;
  readonly token?: string | undefined;
}

export interface Contexts {
  /** The one that is used when none is named; null for none. */
  readonly current: string | null;
  readonly contexts: Readonly<Record<string, Context>>;
}

/** Where the contexts are: `$XDG_CONFIG_HOME/landlord/contexts.yaml`, beneath `~/.config` without that variable. */
export function contextsFile(env: Environment): string {
  const configHome = env["XDG_CONFIG_HOME"] || path.join(env["HOME"] || homedir(), ".config");
  return path.join(configHome, "landlord", "contexts.yaml");
}

/** No file is no context. Throws ConfigError when there is one that cannot be read. */
export function readContexts(env: Environment): Contexts {
  const file = contextsFile(env);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return { current: null, contexts: {} };
    throw broken(file, [messageOf(error)], error);
  }
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw broken(file, messageOf(error).split("\n"), error);
  }
  const result = contextsSchema.safeParse(value ?? {});
  if (!result.success) {
    const details = result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw broken(file, details, result.error);
  }
  const { current, contexts } = result.data;
  return { current: current ?? null, contexts };
}

function broken(file: string, details: readonly string[], cause: unknown): ConfigError {
  return new ConfigError("invalid_contexts", `${file} is no list of contexts: mend or remove it.`, {
    details,
    cause,
  });
}

/** Replaces the file as a whole: a reader sees it as it was or as it is, and nobody else reads it. */
export function writeContexts(env: Environment, contexts: Contexts): void {
  const file = contextsFile(env);
  const next = `${file}.${process.pid}.tmp`;
  try {
    mkdirSync(path.dirname(file), { recursive: true, mode: FOLDER_MODE });
    writeFileSync(next, stringify(contexts), { mode: FILE_MODE });
    // The mode above counts for a new file only, and a left-over one may be anybody's.
    chmodSync(next, FILE_MODE);
    renameSync(next, file);
  } catch (error) {
    rmSync(next, { force: true });
    throw new ConfigError("contexts_not_written", `Cannot write ${file}: ${messageOf(error)}.`, {
      cause: error,
    });
  }
}

/** True when others than the owner may read the file. */
export function areContextsExposed(env: Environment): boolean {
  const found = statSync(contextsFile(env), { throwIfNoEntry: false });
  return found !== undefined && (found.mode & 0o077) !== 0;
}
