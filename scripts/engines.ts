/** Whether every dependency runs on the oldest Node of each line that we support. */
import { satisfies, validRange } from "semver";
import { readSource } from "./source-files.ts";

export const SUPPORTED_NODES: readonly string[] = ["20.19.0", "22.12.0", "24.0.0"];

interface LockfileEntry {
  readonly version?: string;
  /** Only for some platforms; npm leaves out what does not fit. */
  readonly optional?: boolean;
  readonly engines?: Readonly<Record<string, string>>;
}

/** One sentence for each required package in the lockfile whose `engines` exclude a supported Node. */
export function engineProblems(lockfile: string): readonly string[] {
  const { packages } = JSON.parse(lockfile) as {
    readonly packages: Readonly<Record<string, LockfileEntry>>;
  };
  return Object.entries(packages).flatMap(([path, entry]) => {
    const range = entry.optional === true ? null : nodeRange(entry);
    const excluded = range === null ? [] : SUPPORTED_NODES.filter((version) => !satisfies(version, range));
    if (excluded.length === 0) return [];
    return [`${path} ${entry.version ?? ""} wants Node ${range}, which excludes ${excluded.join(", ")}`];
  });
}

/** Null when there is none that npm could read. Very old packages write a list, which npm reads by its indices. */
function nodeRange({ engines }: LockfileEntry): string | null {
  return engines === undefined ? null : validRange(engines["node"]);
}

export function checkEngines(): readonly string[] {
  return engineProblems(readSource("package-lock.json").text);
}
