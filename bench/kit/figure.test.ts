import { expect, it } from "vitest";
import * as fc from "fast-check";
import { median, medianInterval, pairedFigure, plainFigure, quantile } from "./figure.ts";

it("finds the median, and quantiles that are samples", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
  expect(quantile(hundred, 0.5)).toBe(50);
  expect(quantile(hundred, 0.99)).toBe(99);
  expect(quantile([7], 0.99)).toBe(7);
});

it.each([
  // Of the sign test: probability that the median lies outside, at most 5 %.
  [5, 0, 4],
  [6, 0, 5],
  [8, 0, 7],
  [9, 1, 7],
  [12, 2, 9],
  [15, 3, 11],
])("of %i samples in order, the interval is from number %i to number %i", (count, low, high) => {
  const samples = Array.from({ length: count }, (_, index) => index);
  expect(medianInterval([...samples].reverse())).toEqual([low, high]);
});

it("always holds the median of the samples", () => {
  fc.assert(
    fc.property(fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), (stream) => {
      const values = Array.from(stream.take(15));
      const [low, high] = medianInterval(values);
      expect(low).toBeLessThanOrEqual(median(values));
      expect(high).toBeGreaterThanOrEqual(median(values));
    }),
  );
});

it("meets a goal only when the whole interval does, and flags a raw limit that is slow", () => {
  const goal = { kind: "at-most", bound: 2 } as const;
  const rounds = [1.5, 1.9, 2.1].map((ratio) => ({ landlord: 10 * ratio, raw: 10 }));
  const figure = pairedFigure(
    { id: "x", unit: "ms", goal, reference: { raw: 8, isLessBetter: true } },
    rounds,
  );
  expect(figure).toMatchObject({ value: 19, raw: 10, ratio: 1.9, met: false, goal: "<= 2 x raw" });
  expect(figure.warning).toContain("a fifth worse than the 8 ms");
  expect(pairedFigure({ id: "x", unit: "ms", goal }, rounds.slice(0, 2))).toMatchObject({ met: true });
  expect(plainFigure({ id: "y", unit: "MB", goal: { kind: "at-least", bound: 5 } }, [5, 6])).toMatchObject({
    met: true,
    raw: null,
    ratio: null,
  });
});
