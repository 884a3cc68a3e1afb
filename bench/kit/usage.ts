/** Who used the processor, and how much memory: read from /proc, by process. Zeros on systems without it. */
import { readdirSync, readFileSync } from "node:fs";

/** Linux reports processor time in hundredths of a second to every program (USER_HZ). */
const MS_PER_TICK = 10;

export interface Usage {
  /** Of the process and everything below it, since each began. */
  readonly cpuMs: number;
  readonly residentMb: number;
}

/** Of a process and all that descend from it; PostgreSQL is a tree. */
export function usageOf(pid: number): Usage {
  let cpuMs = 0;
  let residentMb = 0;
  for (const each of treeOf(pid)) {
    cpuMs += each.cpuMs;
    residentMb += each.residentMb;
  }
  return { cpuMs, residentMb };
}

interface ProcessFacts extends Usage {
  readonly pid: number;
  readonly parent: number;
}

function treeOf(root: number): readonly ProcessFacts[] {
  const all = processes();
  const found = all.filter(({ pid }) => pid === root);
  for (let index = 0; index < found.length; index++) {
    const parent = found[index] as ProcessFacts;
    found.push(...all.filter((each) => each.parent === parent.pid));
  }
  return found;
}

function processes(): readonly ProcessFacts[] {
  let names: readonly string[];
  try {
    names = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      // The command stands in parentheses and may hold anything; numbers follow the last one.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const number = (field: number): number => Number(fields[field - 3]);
      const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${name}/status`, "utf8"));
      return [
        {
          pid: Number(name),
          parent: number(4),
          // Own time, and that of children that have ended.
          cpuMs: (number(14) + number(15) + number(16) + number(17)) * MS_PER_TICK,
          residentMb: Number(resident?.[1] ?? 0) / 1_024,
        },
      ];
    } catch {
      // It ended between the listing and the look.
      return [];
    }
  });
}

/** Milliseconds of processor time by part, between two looks at the same pids. */
export function watchUsage<Part extends string>(
  pids: Readonly<Record<Part, number>>,
): () => Readonly<Record<Part, Usage>> {
  const names = Object.keys(pids) as Part[];
  const before = Object.fromEntries(names.map((name) => [name, usageOf(pids[name])])) as Record<Part, Usage>;
  return () =>
    Object.fromEntries(
      names.map((name) => {
        const { cpuMs, residentMb } = usageOf(pids[name]);
        return [name, { cpuMs: cpuMs - before[name].cpuMs, residentMb }];
      }),
    ) as Record<Part, Usage>;
}
