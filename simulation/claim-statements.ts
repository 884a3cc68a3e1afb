/** Who is worked on next, as store/postgres/claims.ts has it: due tenants under fair limits, settled ones in turn. */
import type { Claim, StoredTenant, WorkStore } from "../packages/landlord/src/store/store.ts";
import { LANE_NAMES, LANES } from "../packages/landlord/src/domain/tenant.ts";
import { unfinishedOf, type Database, type Facts, type WorkRow } from "./database.ts";

type ClaimDue = Parameters<WorkStore["claimDue"]>[0];
type ClaimResync = Parameters<WorkStore["claimResync"]>[0];

const SHARE_OF_OTHER_LANES = 0.8;
const RESYNC_CHORE = "resync";

/**
 * In each lane those with an unfinished operation come first; the others in turns of their owners, as far as limits
 * go. Facts come from `seen`, which may be older than the lock: the statement's snapshot.
 */
export function claimDue(database: Database, params: ClaimDue, seen: Facts): readonly Claim[] {
  const nowMs = database.nowMs();
  const rows = [...database.tables.work.values()].filter(({ tenantId }) => seen.work.has(tenantId));
  const chosen = fairChoice(database, rows, params, nowMs);
  const taken = LANE_NAMES.flatMap((lane) => {
    const going = rows
      .filter((row) => row.lane === lane && row.inFlight && isDue(row, nowMs) && isFree(row, nowMs))
      .sort(byDueTime)
      .slice(0, params.limits[lane]);
    const started = chosen.filter((row) => row.lane === lane).slice(0, params.limits[lane] - going.length);
    return [...going, ...started];
  });
  spend(database, taken, params, nowMs);
  return taken.flatMap((row) => lease(database, row, params, seen, nowMs));
}

const isDue = ({ dueMs }: WorkRow, nowMs: number): boolean => dueMs !== null && dueMs <= nowMs;
const isFree = ({ leaseUntilMs }: WorkRow, nowMs: number): boolean =>
  leaseUntilMs === null || leaseUntilMs <= nowMs;
const byDueTime = (one: WorkRow, other: WorkRow): number => (one.dueMs ?? 0) - (other.dueMs ?? 0);

interface Waiting {
  readonly row: WorkRow;
  readonly rank: number;
  readonly turn: number;
}

const byTurn = (one: Waiting, other: Waiting): number =>
  one.rank - other.rank || one.turn - other.turn || byDueTime(one.row, other.row);

function fairChoice(
  database: Database,
  rows: readonly WorkRow[],
  { starts }: ClaimDue,
  nowMs: number,
): readonly WorkRow[] {
  // A tenant that is leased and due was claimed to start something.
  const busy = rows.filter(
    (row) => row.inFlight || (row.leaseOwner !== null && isDue(row, nowMs) && !isFree(row, nowMs)),
  );
  const countOf = (matches: (row: WorkRow) => boolean): number => busy.filter(matches).length;
  const turns = new Map<string, number>();
  const oldest = new Set<string>();
  const waiting = rows
    .filter((row) => !row.inFlight && isDue(row, nowMs) && isFree(row, nowMs))
    .filter(({ computeProvider }) => !starts.blockedComputeProviders.includes(computeProvider))
    .sort(byDueTime)
    .map((row): Waiting => {
      const key = `${row.lane}/${row.owner}`;
      const turn = (turns.get(key) ?? countOf(({ owner }) => owner === row.owner)) + 1;
      turns.set(key, turn);
      const queue = `${row.computeProvider}/${row.lane}`;
      const isOldest = !oldest.has(queue);
      oldest.add(queue);
      const isAlone =
        countOf((each) => each.computeProvider === row.computeProvider && each.lane === row.lane) === 0;
      const isOverdue = isOldest && isAlone && (row.dueMs ?? nowMs) < nowMs - starts.patienceMs;
      return isOverdue ? { row, rank: -1, turn: 0 } : { row, rank: LANES[row.lane], turn };
    })
    .sort(byTurn);
  const left = new Map<string, number>();
  const takeOne = (key: string, most: () => number): boolean => {
    const rest = left.get(key) ?? most();
    left.set(key, rest - 1);
    return rest > 0;
  };
  const admitted = waiting.filter(({ row: { computeProvider: name, lane } }) => {
    const isStarted = takeOne(name, () =>
      Math.min(
        (starts.byComputeProvider[name]?.maxInFlight ?? Infinity) -
          countOf((row) => row.computeProvider === name),
        tokensOf(database, name, starts, nowMs),
      ),
    );
    const isRepaired =
      lane !== "repair" ||
      takeOne(
        `${name}/repair`,
        () => starts.repairsInFlight - countOf((row) => row.computeProvider === name && row.lane === lane),
      );
    return isStarted && isRepaired;
  });
  const others = Math.max(1, Math.floor(starts.maxInFlight * SHARE_OF_OTHER_LANES));
  return admitted
    .filter(
      ({ rank }, index) =>
        index + 1 <= (rank <= LANES.interactive ? starts.maxInFlight : others) - busy.length,
    )
    .map(({ row }) => row);
}

/** Whole starts that the rate of this provider allows now. */
function tokensOf({ tables }: Database, name: string, starts: ClaimDue["starts"], nowMs: number): number {
  const perSecond = starts.byComputeProvider[name]?.startsPerSecond ?? null;
  if (perSecond === null) return Infinity;
  return Math.floor(refilled(tables.rates.get(name), perSecond, nowMs));
}

function refilled(
  rate: { readonly tokens: number; readonly refilledMs: number } | undefined,
  perSecond: number,
  nowMs: number,
): number {
  if (rate === undefined) return 1;
  return Math.min(Math.max(1, perSecond), rate.tokens + ((nowMs - rate.refilledMs) / 1_000) * perSecond);
}

function spend({ tables }: Database, taken: readonly WorkRow[], { starts }: ClaimDue, nowMs: number): void {
  for (const [name, { startsPerSecond }] of Object.entries(starts.byComputeProvider)) {
    if (startsPerSecond === null) continue;
    const spent = taken.filter((row) => row.computeProvider === name && !row.inFlight).length;
    const tokens = refilled(tables.rates.get(name), startsPerSecond, nowMs) - spent;
    tables.rates.set(name, { tokens, refilledMs: nowMs });
  }
}

function lease(
  { tables }: Database,
  row: WorkRow,
  params: { readonly leaseOwner: string; readonly leaseDurationMs: number },
  seen: Facts,
  nowMs: number,
): readonly Claim[] {
  const { tenantId, wakeSeq } = row;
  const leaseToken = row.leaseToken + 1;
  const { leaseOwner } = params;
  tables.work.set(tenantId, { ...row, leaseOwner, leaseUntilMs: nowMs + params.leaseDurationMs, leaseToken });
  const stored: StoredTenant | undefined = seen.tenants.get(tenantId);
  if (stored === undefined) return [];
  const operation = unfinishedOf(seen, tenantId);
  return [
    {
      tenantId,
      leaseOwner,
      leaseToken,
      wakeSeq,
      lane: row.lane,
      stored,
      operation: operation?.record ?? null,
      request: operation?.request ?? null,
      now: new Date(nowMs),
    },
  ];
}

/** The chore's row is the fleet's metronome: whoever moves it takes the batch. */
export function claimResync(database: Database, params: ClaimResync, seen: Facts): readonly Claim[] {
  const { tables } = database;
  const nowMs = database.nowMs();
  const beat = tables.chores.get(RESYNC_CHORE);
  const isMine = beat === undefined || beat.nextRunMs <= nowMs || beat.nextRunMs > nowMs + 2 * params.everyMs;
  if (!isMine) return [];
  tables.chores.set(RESYNC_CHORE, {
    requestedAt: null,
    finishedAt: null,
    report: null,
    takenMs: null,
    options: {},
    nextRunMs: nowMs + params.everyMs,
  });
  return [...tables.work.values()]
    .filter(
      (row) => row.resyncMs !== null && row.resyncMs <= nowMs && row.dueMs === null && isFree(row, nowMs),
    )
    .filter(({ tenantId }) => seen.work.has(tenantId))
    .sort((one, other) => (one.resyncMs ?? 0) - (other.resyncMs ?? 0))
    .slice(0, params.limit)
    .flatMap((row) => lease(database, row, params, seen, nowMs));
}

export function requestResync(database: Database, tenantIds: readonly string[]): void {
  const nowMs = database.nowMs();
  for (const id of tenantIds) {
    const row = database.tables.work.get(id);
    if (row === undefined || row.resyncMs === null) continue;
    database.tables.work.set(id, { ...row, resyncMs: Math.min(row.resyncMs, nowMs) });
  }
}
