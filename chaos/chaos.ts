/** One chaos run: users and faults at the same time, then peace, then the checks. */
import { setMaxListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { livingTenants, watchInstanceForDoubles } from "../packages/landlord/test/support/census.ts";
import {
  explainUnsettled,
  findLost,
  findRunningExecutions,
  findWrongProcesses,
  findWrongRecords,
  isSettled,
  listTenants,
  type Findings,
} from "./checks.ts";
import type { TenantBody } from "../packages/landlord/src/contract/tenant.ts";
import { createExpectations, type Expectations } from "./expectation.ts";
import { runFaults, signalGroup, type Fault, type FaultOptions } from "./faults.ts";
import { startFleet, type Fleet } from "./fleet.ts";
import { createRandom } from "./random.ts";
import { measureRecovery, type Recovery } from "./recovery.ts";
import { runUser, type UserFigures } from "./user.ts";

export interface ChaosOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly users: number;
  readonly namesPerUser: number;
  /** The longest time that everything may take to settle after the last fault. */
  readonly settleWithinMs: number;
  readonly settings?: Readonly<Record<string, unknown>>;
  /** What happens to the fleet meanwhile; runFaults when not given. Ends soon after its signal aborts. */
  readonly disturb?: (options: FaultOptions) => Promise<void>;
  /** Logs and data stay even after a clean run. */
  readonly keepLogs?: boolean;
  /** Ends the run early, without checks; everything that was started is stopped. */
  readonly signal?: AbortSignal;
  readonly say: (line: string) => void;
}

export interface ChaosReport {
  readonly seed: number;
  readonly minutes: number;
  /** Requests of users, by what became of them. */
  readonly requests: UserFigures;
  /** Rows of the ledger, and how they ended. */
  readonly operations: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly tenants_created: number;
  readonly tenants_left: number;
  /** Faults by kind, and kills by what was killed. */
  readonly faults: Readonly<Record<string, number>>;
  readonly kills: number;
  readonly kills_by_kind: Readonly<Record<string, number>>;
  readonly recovery: Recovery;
  readonly settled_after_ms: number;
  readonly lost: readonly string[];
  readonly duplicated: readonly string[];
  readonly orphaned: readonly string[];
  readonly stuck: readonly string[];
  /** Answers that no client should ever get, and processes that ended by themselves. */
  readonly broken: readonly string[];
  readonly logs: string | null;
}

/** Names that all users write to, besides their own. */
const SHARED_NAMES = 2;
const THINK_MS = [200, 1_200] as const;
const DOUBLES_EVERY_MS = 100;
const PROGRESS_MS = 10_000;
const SETTLE_POLL_MS = 500;

/** A run ends with exit code 0 only if this is true. */
export function isClean(report: ChaosReport): boolean {
  const { lost, duplicated, orphaned, stuck, broken } = report;
  return [lost, duplicated, orphaned, stuck, broken].every((problems) => problems.length === 0);
}

/** Starts a fleet, breaks it for some minutes, and says what is left. Folders stay if the run was not clean. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, say } = options;
  const startedMs = performance.now();
  const fleet = await startFleet(options.settings);
  say(
    `fleet is up after ${Math.round(performance.now() - startedMs)} ms; seed ${seed}; logs in ${fleet.folder}`,
  );
  let isKept = true;
  try {
    const report = await torment(fleet, options);
    isKept = options.keepLogs === true || !isClean(report);
    return isKept ? report : { ...report, logs: null };
  } finally {
    const instanceId = await instanceOf(fleet).catch(() => null);
    await fleet.stop({ keep: isKept });
    if (instanceId !== null) killWorkloads(instanceId);
  }
}

async function torment(fleet: Fleet, options: ChaosOptions): Promise<ChaosReport> {
  const { minutes, seed, say, users, namesPerUser, disturb = runFaults } = options;
  const random = createRandom(seed);
  const expectations = createExpectations();
  const figures: UserFigures = { requests: 0, accepted: 0, refused: 0, lost: 0 };
  const faults: Fault[] = [];
  const instanceId = await instanceOf(fleet);
  const doubles = watchInstanceForDoubles(instanceId, DOUBLES_EVERY_MS);
  const progress = setInterval(() => {
    say(
      `${figures.requests} requests (${figures.accepted} accepted, ${figures.refused} refused, ${figures.lost} lost), ${faults.length} faults (${killsOf(faults)} kills), ${expectations.tenants.size} tenants so far`,
    );
  }, PROGRESS_MS);
  const ends = [AbortSignal.timeout(minutes * 60_000), options.signal];
  const peace = AbortSignal.any(ends.filter((each) => each !== undefined));
  // Every actor's pause listens to it.
  setMaxListeners(0, peace);
  try {
    await Promise.all([
      disturb({
        fleet,
        instanceId,
        random: random.fork("faults"),
        signal: peace,
        onFault: (fault) => faults.push(fault),
      }),
      ...Array.from({ length: users }, (_, index) =>
        runUser({
          id: `u${index}`,
          names: [...namesOf(`u${index}`, namesPerUser), ...namesOf("all", SHARED_NAMES)],
          apiUrls: fleet.apiUrls,
          expectations,
          random: random.fork(`user ${index}`),
          figures,
          thinkMs: THINK_MS,
          signal: peace,
        }),
      ),
    ]);
  } finally {
    clearInterval(progress);
  }
  options.signal?.throwIfAborted();
  say(`peace after ${faults.length} faults; waiting until everything has settled`);
  const settling = await settle(fleet, instanceId, expectations, options.settleWithinMs);
  const seenDoubles = doubles.stop();
  const findings = await inspect(fleet, instanceId, settling);
  const tenants = settling.tenants;
  return {
    seed,
    minutes,
    requests: figures,
    ...(await ledgerFigures(fleet)),
    tenants_created: expectations.tenants.size,
    tenants_left: tenants.length,
    faults: countBy(faults, ({ kind, detail }) => (kind === "link" ? `link ${detail.split(" ")[0]}` : kind)),
    kills: killsOf(faults),
    kills_by_kind: countBy(
      faults.filter(({ kind }) => kind === "kill"),
      ({ target }) => target.replace(/-\d+$/, ""),
    ),
    recovery: await measureRecovery(fleet.sql, faults),
    settled_after_ms: Math.round(settling.durationMs),
    ...findings,
    lost: [
      ...expectations.violations.filter((text) => !text.startsWith("broken")),
      ...findLost(expectations, tenants),
      ...findings.lost,
    ],
    duplicated: [...seenDoubles.map((text) => `at the same time: ${text}`), ...findings.duplicated],
    broken: [...expectations.violations.filter((text) => text.startsWith("broken")), ...fleet.crashes()],
    logs: fleet.folder,
  };
}

interface Settling {
  readonly tenants: Awaited<ReturnType<typeof listTenants>>;
  readonly durationMs: number;
  readonly stuck: readonly string[];
}

/**
 * Waits until no tenant, transition or execution is under way and every process is in its place: drift is found within
 * one look at each tenant, orphans within one sweep.
 */
async function settle(
  fleet: Fleet,
  instanceId: string,
  expectations: Expectations,
  withinMs: number,
): Promise<Settling> {
  const startMs = performance.now();
  const apiUrl = fleet.directApiUrls[0] ?? "";
  for (;;) {
    const tenants = await listTenants(apiUrl).catch(() => null);
    const durationMs = performance.now() - startMs;
    const isOver = durationMs >= withinMs;
    if (tenants === null) {
      if (isOver) throw new Error(`the API did not come back within ${withinMs} ms`);
    } else {
      await resumeAll(apiUrl, tenants, expectations);
      const isQuiet =
        tenants.every((tenant) => isSettled(tenant) && !tenant.paused) && !(await hasUnsequenced(fleet));
      const running =
        isQuiet || isOver ? await findRunningExecutions(fleet.restateAdminUrl, fleet.namespace) : [];
      const isWhole = isQuiet && running.length === 0 && hasRightProcesses(tenants, instanceId);
      if (isWhole) return { tenants, durationMs, stuck: [] };
      if (isOver) return { tenants, durationMs, stuck: [...(await explainUnsettled(fleet.sql)), ...running] };
    }
    await delay(SETTLE_POLL_MS);
  }
}

/** Nothing is started for a tenant that a user left paused. */
async function resumeAll(
  apiUrl: string,
  tenants: Settling["tenants"],
  expectations: Expectations,
): Promise<void> {
  for (const { id } of tenants.filter(({ paused }) => paused)) {
    const answer = await fetch(`${apiUrl}/v1/tenants/${id}/resume`, { method: "POST" });
    if (answer.ok) expectations.answered((await answer.json()) as TenantBody);
  }
}

function hasRightProcesses(tenants: Settling["tenants"], instanceId: string): boolean {
  return Object.values(findWrongProcesses(tenants, instanceId)).every((problems) => problems.length === 0);
}

async function hasUnsequenced({ sql }: Fleet): Promise<boolean> {
  return (await sql.query("SELECT 1 FROM transitions WHERE position IS NULL LIMIT 1")).length > 0;
}

async function inspect(fleet: Fleet, instanceId: string, { tenants, stuck }: Settling): Promise<Findings> {
  const processes = findWrongProcesses(tenants, instanceId);
  const records = await findWrongRecords(fleet.sql);
  return {
    lost: [...processes.lost, ...records.lost],
    duplicated: [...processes.duplicated, ...records.duplicated],
    orphaned: [...processes.orphaned, ...records.orphaned],
    stuck: [...stuck, ...records.stuck],
  };
}

async function ledgerFigures({ sql }: Fleet): Promise<Pick<ChaosReport, "operations" | "outcomes">> {
  const rows = await sql.query<{ outcome: string | null; count: number }>(
    "SELECT outcome, count(*)::int AS count FROM operations GROUP BY outcome ORDER BY count DESC",
  );
  return {
    operations: rows.reduce((sum, { count }) => sum + count, 0),
    outcomes: Object.fromEntries(rows.map(({ outcome, count }) => [outcome ?? "unfinished", count])),
  };
}

async function instanceOf({ sql }: Fleet): Promise<string> {
  const [row] = await sql.query<{ id: string }>("SELECT id FROM instance");
  if (row === undefined) throw new Error("the database has no instance");
  return row.id;
}

function killsOf(faults: readonly Fault[]): number {
  return faults.filter(({ kind }) => kind === "kill").length;
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[keyOf(item)] = (counts[keyOf(item)] ?? 0) + 1;
  return counts;
}

/** Tenants outlive their servers and workers; a run leaves nothing on the machine. */
function killWorkloads(instanceId: string): void {
  for (const { pid } of livingTenants().filter((each) => each.instanceId === instanceId)) {
    signalGroup(pid, "SIGKILL");
  }
}

function namesOf(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
}
