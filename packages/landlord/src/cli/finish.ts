/** What comes after a write: waiting, with something to look at meanwhile, and the tenant as it is then. */
import type { LandlordClient, Tenant } from "@landlord/client";
import { hasOutputColour, isLive, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { inParallel, throwFailures, type Failure } from "./command.ts";
import { printable } from "./output.ts";
import { startProgress } from "./progress.ts";
import { tenantTable } from "./tenant-view.ts";

export interface WaitFlags {
  readonly wait?: boolean;
  readonly timeout: string;
}

export type WaitGoal = "ready" | "archived" | "deleted";

export interface Goal {
  /** As the write answered it. */
  readonly tenant: Tenant;
  readonly goal: WaitGoal;
  readonly timeoutMs: number;
}

/** Waits, if asked to, and prints the tenant. */
export async function finish(
  deps: CliDeps,
  client: LandlordClient,
  options: GlobalOptions & Pick<WaitFlags, "wait">,
  { tenant, goal, timeoutMs }: Goal,
): Promise<void> {
  const last =
    options.wait === true ? await waitWithProgress(deps, client, { tenant, goal, timeoutMs }) : tenant;
  if (options.wait === true && goal === "deleted") {
    const gone = { id: tenant.id, name: tenant.name, status: "deleted" };
    print(deps, options.output, gone, () => `${printable(tenant.name)} deleted\n`);
    return;
  }
  print(deps, options.output, last, (wide) =>
    tenantTable([last], deps.stdout, { colour: hasOutputColour(deps), wide }),
  );
}

async function waitWithProgress(deps: CliDeps, client: LandlordClient, goal: Goal): Promise<Tenant> {
  const { tenant, timeoutMs } = goal;
  const progress = startProgress(deps.stderr, isLive(deps), tenant);
  try {
    const last = await client.waitFor(tenant.id, {
      for: goal.goal,
      timeoutMs,
      generation: tenant.generation,
      signal: deps.signal,
      onChange: (changed) => progress.update(changed),
    });
    return last ?? tenant;
  } finally {
    progress.stop();
  }
}

export interface GroupGoal {
  readonly goal: WaitGoal;
  readonly timeoutMs: number;
}

/** What has to be known of a tenant to wait for it. Without a generation any will do. */
export interface Awaited {
  readonly id: string;
  readonly name: string;
  readonly generation?: number | undefined;
}

// Each wait is one request that the server holds back.
const WAITS_AT_ONCE = 32;

/**
 * Waits for all of them at once. Answers those that got there, null for one that is gone; throws once all have ended
 * when some did not.
 */
export async function waitForAll(
  deps: CliDeps,
  client: LandlordClient,
  tenants: readonly Awaited[],
  { goal, timeoutMs }: GroupGoal,
): Promise<readonly (Tenant | null)[]> {
  const deadlineMs = Date.now() + timeoutMs;
  const progress = startCount(deps, tenants.length, goal);
  const failures: Failure[] = [];
  let lasts: readonly (Tenant | null)[];
  try {
    lasts = await inParallel(tenants, WAITS_AT_ONCE, async ({ id, name, generation }) => {
      try {
        const leftMs = Math.max(1, deadlineMs - Date.now());
        const { signal } = deps;
        const last = await client.waitFor(id, { for: goal, timeoutMs: leftMs, generation, signal });
        progress.done(`${name} ${goal}`);
        return last;
      } catch (error) {
        failures.push({ what: name, error });
        return null;
      }
    });
  } finally {
    progress.stop();
  }
  throwFailures(failures, tenants.length, `tenants are not ${goal}`);
  return lasts;
}

export interface Count {
  /** One more is done; `line` says which. */
  done(line: string): void;
  stop(): void;
}

/** Counts to `total`: one live line on a terminal, a line for each elsewhere. */
export function startCount(deps: CliDeps, total: number, verb: string): Count {
  let count = 0;
  if (!isLive(deps)) {
    return { done: (line) => void deps.stderr.write(`${printable(line)}\n`), stop() {} };
  }
  const draw = (): void => void deps.stderr.write(`\r\u001b[2K${count}/${total} ${verb}`);
  draw();
  return {
    done() {
      count += 1;
      draw();
    },
    stop: () => void deps.stderr.write("\r\u001b[2K"),
  };
}
