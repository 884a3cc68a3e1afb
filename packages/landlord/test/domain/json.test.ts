import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  canonicalJson,
  configHash,
  mergePatch,
  withDefaults,
  type Json,
  type JsonObject,
} from "../../src/domain/json.ts";

const jsonObjects = fc.dictionary(fc.string(), fc.jsonValue()) as fc.Arbitrary<JsonObject>;

describe("canonical JSON", () => {
  test("sorts keys at every depth and prints nothing else", () => {
    expect(canonicalJson({ b: [2, { d: 1, c: null }], a: "ä" })).toBe('{"a":"ä","b":[2,{"c":null,"d":1}]}');
  });

  test("reads back as the same value, and its hash does not depend on the order of keys", () => {
    fc.assert(
      fc.property(jsonObjects, (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(configHash(reversed)).toBe(configHash(value));
      }),
    );
  });

  test("hashes to SHA-256 of the text", () => {
    expect(configHash({})).toBe("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
  });
});

/** RFC 7396, appendix A. */
const EXAMPLES: readonly (readonly [Json, Json, Json])[] = [
  [{ a: "b" }, { a: "c" }, { a: "c" }],
  [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
  [{ a: "b" }, { a: null }, {}],
  [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
  [{ a: ["b"] }, { a: "c" }, { a: "c" }],
  [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
  [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
  [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
  [
    ["a", "b"],
    ["c", "d"],
    ["c", "d"],
  ],
  [{ a: "b" }, ["c"], ["c"]],
  [{ a: "foo" }, null, null],
  [{ a: "foo" }, "bar", "bar"],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: "b", c: null }, { a: "b" }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];

describe("merge patch", () => {
  test.each(EXAMPLES)("%j with %j is %j", (target, patch, expected) => {
    expect(mergePatch(target, patch)).toEqual(expected);
  });

  test("twice is once", () => {
    fc.assert(
      fc.property(jsonObjects, jsonObjects, (target, patch) => {
        const once = mergePatch(target, patch);
        expect(mergePatch(once, patch)).toEqual(once);
      }),
    );
  });

  test("a key named __proto__ is data", () => {
    const merged = mergePatch({}, JSON.parse('{"__proto__":{"polluted":true}}') as Json);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    expect(JSON.stringify(merged)).toBe('{"__proto__":{"polluted":true}}');
  });
});

test("defaults fill what is missing, at every depth, and never win", () => {
  expect(
    withDefaults(
      { a: { x: 1 }, list: [1], off: null },
      { a: { x: 0, y: 2 }, b: 3, list: [9, 9], off: { z: 1 } },
    ),
  ).toEqual({
    a: { x: 1, y: 2 },
    b: 3,
    list: [1],
    off: null,
  });
});
