/** A short run of `npm run chaos`, and that its verbs are all that the API has. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { isClean, runChaos } from "../../../../chaos/chaos.ts";
import { VERBS } from "../../../../chaos/verbs.ts";

const SEED = 20_261_122;

test(
  "a minute of kills, stops and broken connections loses, doubles and strands nothing",
  { timeout: 300_000 },
  async () => {
    const lines: string[] = [];
    const report = await runChaos({
      minutes: 1,
      seed: SEED,
      users: 6,
      namesPerUser: 5,
      settleWithinMs: 90_000,
      say: (line) => void lines.push(line),
    });
    const { lost, duplicated, orphaned, stuck, broken } = report;
    expect({ lost, duplicated, orphaned, stuck, broken }, lines.join("\n")).toEqual({
      lost: [],
      duplicated: [],
      orphaned: [],
      stuck: [],
      broken: [],
    });
    expect(isClean(report)).toBe(true);
    // A run in which nothing happened proves nothing.
    expect(report.operations).toBeGreaterThan(25);
    expect(report.kills).toBeGreaterThan(6);
    expect(Object.keys(report.kills_by_kind).length).toBeGreaterThanOrEqual(3);
    expect(report.recovery.first_success.count).toBeGreaterThan(0);
  },
);

test("every write that the API has on tenants is among the verbs", async () => {
  const document = JSON.parse(
    await readFile(new URL("../../../../openapi/openapi.json", import.meta.url), "utf8"),
  ) as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId: string }>>>>;
  };
  const writes = Object.entries(document.paths)
    .filter(([path]) => path.startsWith("/v1/tenants"))
    .flatMap(([, operations]) => Object.entries(operations))
    .filter(([method]) => method !== "get")
    .map(([, { operationId }]) => operationId);
  // A plan stores nothing.
  const stored = writes.filter((each) => each !== "createTenant" && each !== "planTenant");
  expect(stored.toSorted()).toEqual(VERBS.map(({ operationId }) => operationId).toSorted());
});
