import { expect, it } from "vitest";
import * as fc from "fast-check";
import type { Lane } from "../../src/domain/tenant.ts";
import { createLaneSlots } from "../../src/reconciler/lanes.ts";
import type { Claim, ClaimLimits } from "../../src/store/store.ts";

const claimsOf = (counts: Partial<ClaimLimits>): Claim[] =>
  Object.entries(counts).flatMap(([lane, count]) =>
    Array.from({ length: count }, () => ({ lane: lane as Lane }) as Claim),
  );

const START_MS = 1_000;
const still = (): number => START_MS;

it("leaves half of its passes to interactive work, however much of the other waits", () => {
  const slots = createLaneSlots(64, still);
  for (let claim = 0; claim < 10; claim++) {
    const { repair, background } = slots.limits();
    for (let taken = 0; taken < repair; taken++) slots.enter("repair");
    for (let taken = 0; taken < background; taken++) slots.enter("background");
  }
  expect(slots.limits()).toEqual({ interactive: 32, repair: 0, background: 0 });
});

it("claims of every lane, whatever its size, and never much more than is free", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000 }), fc.nat(1_000), (workers, busy) => {
      const slots = createLaneSlots(workers, still);
      const running = Math.min(busy, workers - 1);
      for (let pass = 0; pass < running; pass++) slots.enter("interactive");
      const limits = slots.limits();
      expect(Math.min(...Object.values(limits))).toBeGreaterThanOrEqual(1);
      expect(limits.interactive + limits.repair + limits.background).toBeLessThanOrEqual(
        workers - running + 2,
      );
    }),
  );
});

it("leaves all but a sixteenth to interactive work while there is some, and ten seconds longer", () => {
  let nowMs = START_MS;
  const slots = createLaneSlots(64, () => nowMs);
  expect(slots.limits()).toMatchObject({ repair: 16, background: 16 });
  slots.enter("interactive");
  slots.leave("interactive");
  expect(slots.limits()).toMatchObject({ repair: 4, background: 4 });
  nowMs += 9_999;
  expect(slots.limits()).toMatchObject({ repair: 4, background: 4 });
  nowMs += 1;
  expect(slots.limits()).toMatchObject({ repair: 16, background: 16 });
});

it("claims again when a lane that had more has room for half of it", () => {
  const slots = createLaneSlots(16, still);
  const limits = slots.limits();
  expect(slots.isClaimWorthwhile(), "nothing is known to wait").toBe(false);
  slots.claimed(claimsOf({ background: limits.background }), limits);
  for (let pass = 0; pass < 4; pass++) slots.enter("background");
  expect(slots.isClaimWorthwhile(), "all of its passes are taken").toBe(false);
  slots.claimed([], slots.limits());
  slots.leave("background");
  expect(slots.isClaimWorthwhile(), "a quarter of it").toBe(false);
  slots.leave("background");
  expect(slots.isClaimWorthwhile(), "a claim that could take none of it says nothing of it").toBe(true);
  slots.claimed([], slots.limits());
  expect(slots.isClaimWorthwhile(), "it is empty").toBe(false);
});
