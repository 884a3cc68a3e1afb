/**
 * How many due tenants a second are claimed and given back, at fleets of several sizes, next to the same SQL by hand: the
 * statements that the store was heard to send, over bare pg. Most of a fleet is settled; some thousands of it are due. A
 * queue that is as simple as one can be, on a table of its own, is told as a detail: that is what fairness and fences cost.
 */
import { randomUUID } from "node:crypto";
import type { Bench, Benchmark } from "../kit/bench.ts";
import { sharedFleet, type Fleet } from "../kit/fleet.ts";
import { median, pairedFigure, type Figure, type Round } from "../kit/figure.ts";
import { emptyCommit } from "../../packages/landlord/src/reconciler/commits.ts";
import type { Claim, Commit } from "../../packages/landlord/src/store/store.ts";
import { statementsOf } from "../kit/statements.ts";
import { openRawQueue, type RawQueue } from "../raw/due-queue.ts";
import { openReplayedQueue, type ReplayedQueue } from "../raw/replayed-queue.ts";

/** Tenants of one claim, and of one release. */
const BATCH = 100;
/** Claims at once, as of so many servers. */
const CLAIMERS = 2;
const NEXT_LOOK_MS = 600_000;
const LEASE_MS = 30_000;
/** Due tenants are counted against what may be in flight. */
const STARTS = {
  maxInFlight: 1_000,
  repairsInFlight: 10,
  patienceMs: 30_000,
  byComputeProvider: {},
  blockedComputeProviders: [],
};

export const claims: Benchmark = {
  id: "claims",
  about: "due tenants claimed and given back a second, at 10 k, 100 k and 1 M tenants",
  async run(bench) {
    const sizes = bench.isQuick ? [10_000, 100_000] : [10_000, 100_000, 1_000_000];
    const subjects: Subject[] = [];
    for (const size of sizes) subjects.push(await open(bench, size));
    try {
      return await measure(bench, subjects);
    } finally {
      await Promise.all(
        subjects.flatMap(({ raw, simple }) => [...raw, ...simple].map((queue) => queue.close())),
      );
    }
  },
};

/** All queues of one fleet; a connection for each claimer. */
interface Subject {
  readonly size: number;
  readonly fleet: Fleet;
  readonly raw: readonly ReplayedQueue[];
  readonly simple: readonly RawQueue[];
}

async function open(bench: Bench, size: number): Promise<Subject> {
  const fleet = await sharedFleet(bench, size);
  const each = Array.from({ length: CLAIMERS });
  // The first one makes the table.
  const first = await openRawQueue(fleet.url);
  await first.fill();
  const simple = [first, ...(await Promise.all(each.slice(1).map(() => openRawQueue(fleet.url))))];
  await fleet.makeDue(BATCH);
  const [claim, release, ...others] = await statementsOf(landlordClaimer(fleet));
  if (claim === undefined || release === undefined || others.length > 0)
    throw new Error("a claim and its release are no longer two statements: measure them anew");
  const raw = await Promise.all(
    each.map(() => openReplayedQueue(fleet.url, { claim, release }, NEXT_LOOK_MS)),
  );
  return { size, fleet, raw, simple };
}

async function measure(bench: Bench, subjects: readonly Subject[]): Promise<Figure[]> {
  const rounds = bench.isQuick ? 3 : 31;
  const due = bench.isQuick ? 2_000 : 6_000;
  const bySize = new Map<number, ClaimRound[]>(subjects.map(({ size }) => [size, []]));
  // The first one warms up.
  for (let round = 0; round <= rounds; round++) {
    for (const { subject, rates } of await measureRound(subjects, due)) {
      const { raw, landlord, simple } = rates;
      bench.say(
        `claims: ${subject.size} tenants, raw ${raw.toFixed(0)}/s, landlord ${landlord.toFixed(0)}/s, simple queue ${simple.toFixed(0)}/s`,
      );
      if (round > 0) bySize.get(subject.size)?.push(rates);
    }
  }
  const [smallest, largest] = [[...bySize.values()][0] ?? [], [...bySize.values()].at(-1) ?? []];
  const details = Object.fromEntries(
    [...bySize].flatMap(([size, each]) => [
      [`landlord_at_${size}_per_s`, median(each.map(({ landlord }) => landlord))],
      [`raw_at_${size}_per_s`, median(each.map(({ raw }) => raw))],
      [`simple_queue_at_${size}_per_s`, median(each.map(({ simple }) => simple))],
    ]),
  );
  const flat = largest.map(({ landlord }, index) => ({
    landlord,
    raw: smallest[index]?.landlord ?? Number.NaN,
  }));
  return [
    pairedFigure(
      { id: "claims", unit: "claims/s", goal: { kind: "at-least", bound: 0.8 }, details },
      largest,
    ),
    // Raw is the same queue at the smallest fleet.
    pairedFigure({ id: "claims-flat", unit: "claims/s", goal: { kind: "at-least", bound: 0.8 } }, flat),
  ];
}

type ClaimRound = Round & { readonly simple: number };

/**
 * The machine's speed drifts, so what is compared comes close together: Landlord at all sizes in a row, beginning with the
 * largest, whose raw limit was measured just before.
 */
async function measureRound(
  subjects: readonly Subject[],
  due: number,
): Promise<readonly { readonly subject: Subject; readonly rates: ClaimRound }[]> {
  const [raw, landlord, simple] = [[], [], []] as [number[], number[], number[]];
  for (const subject of subjects) raw.push(await rawRate(subject, due));
  for (const subject of [...subjects].reverse()) landlord.unshift(await landlordRate(subject, due));
  for (const subject of subjects) simple.push(await simpleRate(subject, due));
  return subjects.map((subject, index) => ({
    subject,
    rates: {
      raw: raw[index] ?? Number.NaN,
      landlord: landlord[index] ?? Number.NaN,
      simple: simple[index] ?? Number.NaN,
    },
  }));
}

async function rawRate({ fleet, raw }: Subject, due: number): Promise<number> {
  await fleet.makeDue(due);
  return rateOf(
    due,
    raw.map((queue) => () => queue.claimAndRelease()),
  );
}

async function simpleRate({ simple }: Subject, due: number): Promise<number> {
  await simple[0]?.makeDue(due);
  return rateOf(
    due,
    simple.map((queue) => async () => {
      const claimed = await queue.claimDue(BATCH);
      if (claimed.length > 0) await queue.release(claimed, NEXT_LOOK_MS);
      return claimed.length;
    }),
  );
}

async function landlordRate({ fleet }: Subject, due: number): Promise<number> {
  await fleet.makeDue(due);
  return rateOf(
    due,
    Array.from({ length: CLAIMERS }, () => landlordClaimer(fleet)),
  );
}

/** Claims and gives back, as a server does. Answers how many. */
function landlordClaimer({ store }: Fleet): () => Promise<number> {
  const leaseOwner = randomUUID();
  const other = Math.floor(BATCH / 8);
  return async () => {
    const claimed = await store.claimDue({
      leaseOwner,
      leaseDurationMs: LEASE_MS,
      limits: { interactive: BATCH, repair: other, background: other },
      starts: STARTS,
    });
    const outcomes = await store.commit(claimed.map(releaseOf));
    if (outcomes.some((outcome) => outcome !== "committed"))
      throw new Error("a claim could not be given back");
    return claimed.length;
  };
}

/** Claims a second, until so many were given back. */
async function rateOf(count: number, claimers: readonly (() => Promise<number>)[]): Promise<number> {
  const startedMs = performance.now();
  let done = 0;
  await Promise.all(
    claimers.map(async (claim) => {
      while (done < count) {
        // Not in one expression with the sum: that would forget what the others added meanwhile.
        const claimed = await claim();
        done += claimed;
      }
    }),
  );
  return (done / (performance.now() - startedMs)) * 1_000;
}

/** Nothing is left to do for the tenant: what a pass commits that found nothing. */
function releaseOf(claim: Claim): Commit {
  const { tenantId, leaseOwner, leaseToken, wakeSeq, stored, operation, now } = claim;
  const held = { tenantId, leaseOwner, leaseToken, wakeSeq };
  const pass = { claim: held, tenant: stored.tenant, revision: stored.revision, operation, now, jitter: 0 };
  return { ...emptyCommit(pass), release: { dueInMs: null, resyncInMs: NEXT_LOOK_MS } };
}
