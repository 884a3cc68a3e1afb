/**
 * 10,000 requests drawn from the OpenAPI document, good ones and bad ones: no 5xx, no answer that the document does not
 * know, and whatever is written can be read back. FUZZ_SEED repeats the draws of a run, FUZZ_REQUESTS makes it longer.
 */
import fc from "fast-check";
import { Pool } from "undici";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import type { Draw } from "./fuzz/draws.ts";
import { drawOf } from "./fuzz/draws.ts";
import { readDocument, type DocumentOperation, type RawDocument } from "./fuzz/document.ts";
import { Lane, type Run } from "./fuzz/lane.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2_147_483_647);
const REQUESTS = Number(process.env["FUZZ_REQUESTS"] ?? 10_000);
const LANES = 16;
const LEAST_SUCCESSES = 100;
const DRAWS_OF_EACH = 500;
const FAILURES_LIMIT = 10;

let system: TestSystem;
let http: Pool;
beforeAll(async () => {
  system = await startTestSystem();
  http = new Pool(system.url, { connections: LANES * 2 });
});
afterAll(async () => {
  await http.destroy();
  await system.stop();
});

/** The same seed gives the same draws, operation by operation. */
function drawsOf(operations: readonly DocumentOperation[], run: Pick<Run, "document">): (id: string) => Draw {
  const draws = new Map(
    operations.map((operation, index) => [
      operation.id,
      fc.sample(drawOf(operation, run.document), { seed: seed + index, numRuns: DRAWS_OF_EACH }),
    ]),
  );
  const used = new Map<string, number>();
  return (id) => {
    const next = used.get(id) ?? 0;
    used.set(id, next + 1);
    const all = draws.get(id) ?? [];
    return all[next % all.length] as Draw;
  };
}

it(`${REQUESTS} requests, seed ${seed}`, { timeout: 300_000 }, async () => {
  const raw = (await (await fetch(`${system.url}/v1/openapi.json`)).json()) as RawDocument;
  const document = readDocument(raw);
  const { operations } = document;
  const successes = new Map(operations.map(({ id }) => [id, 0]));
  let requests = 0;
  let answered2xx = 0;
  const byStatus = new Map<number, number>();
  const run: Run = {
    document,
    http,
    failures: [],
    count: () => (requests += 1),
    record({ id }, status) {
      byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
      if (status >= 300) return;
      answered2xx += 1;
      successes.set(id, (successes.get(id) ?? 0) + 1);
    },
  };
  const nextDraw = drawsOf(operations, run);
  const fewest = (): DocumentOperation =>
    operations.reduce((least, each) =>
      (successes.get(each.id) ?? 0) < (successes.get(least.id) ?? 0) ? each : least,
    );
  const isEnough = (): boolean => (successes.get(fewest().id) ?? 0) >= LEAST_SUCCESSES;
  const isOver = (): boolean =>
    run.failures.length >= FAILURES_LIMIT ||
    (requests >= REQUESTS && (isEnough() || requests >= 2 * REQUESTS));
  const start = performance.now();
  let turn = 0;
  const lane = async (number: number): Promise<void> => {
    const own = new Lane(run, number);
    while (!isOver()) {
      turn += 1;
      const operation = turn % 3 > 0 ? fewest() : operations[turn % operations.length];
      if (operation !== undefined) await own.perform(operation, nextDraw(operation.id));
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)));

  const least = fewest();
  const statuses = [...byStatus].sort(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`);
  const seconds = (performance.now() - start) / 1_000;
  console.log(
    `fuzz: ${requests} requests in ${seconds.toFixed(1)} s, ${((100 * answered2xx) / requests).toFixed(1)} % answered 2xx, ` +
      `fewest successes: ${least.id} ${successes.get(least.id)}, seed ${seed}; ${statuses.join(", ")}`,
  );
  expect(run.failures, `repeat with FUZZ_SEED=${seed}`).toEqual([]);
  expect(answered2xx / requests).toBeGreaterThan(0.3);
  expect(successes.get(least.id), least.id).toBeGreaterThanOrEqual(LEAST_SUCCESSES);
});
