import fc from "fast-check";
import { expect, it } from "vitest";
import { changedFields, diffFields, heaviestAction } from "../../src/domain/plan.ts";
import type { JsonObject } from "../../src/domain/json.ts";

it("tells what differs, member by member, and lists as a whole", () => {
  const from = { a: 1, b: { c: [1, 2], d: "x" }, gone: true };
  const to = { a: 1, b: { c: [1, 3], d: "x" }, "new/one": null };
  expect(diffFields(from, to)).toEqual([
    { pointer: "/b/c", from: [1, 2], to: [1, 3] },
    { pointer: "/gone", from: true, to: undefined },
    { pointer: "/new~1one", from: undefined, to: null },
  ]);
});

it("tells that a secret changed, and shows neither", () => {
  expect(diffFields({ env: { API_TOKEN: "old" } }, { env: { API_TOKEN: "new" } })).toEqual([
    { pointer: "/env/API_TOKEN", from: "[redacted]", to: "[redacted]" },
  ]);
});

it("finds nothing between equal values, in whatever order their keys are", () => {
  const json = fc.dictionary(
    fc.string({ maxLength: 4 }),
    fc.jsonValue({ maxDepth: 3 }),
  ) as fc.Arbitrary<JsonObject>;
  fc.assert(
    fc.property(json, (value) => {
      const reversed = Object.fromEntries(Object.entries(value).reverse());
      expect(changedFields(value, reversed)).toEqual([]);
    }),
  );
});

it("is bounded, and the heaviest change names the plan", () => {
  const many = Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [`k${at}`, at]));
  expect(diffFields({}, many)).toHaveLength(1_000);
  expect(heaviestAction([])).toBe("none");
  expect(heaviestAction([{ action: "in_place" }, { action: "replace" }, { action: "create" }])).toBe(
    "replace",
  );
});
