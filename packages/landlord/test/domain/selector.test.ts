import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatSelector, matchesSelector, parseSelector } from "../../src/domain/selector.ts";

const matches = (selector: string, labels: Record<string, string>): boolean =>
  matchesSelector(parseSelector(selector), labels);

describe("a selector", () => {
  it.each([
    ["", {}, true],
    ["env=prod", { env: "prod" }, true],
    ["env==prod", { env: "prod" }, true],
    ["env = prod", { env: "prod" }, true],
    ["env=prod", { env: "dev" }, false],
    ["env=prod", {}, false],
    ["env=", { env: "" }, true],
    ["env=", {}, false],
    ["tier!=free", { tier: "pro" }, true],
    ["tier!=free", {}, true],
    ["tier!=free", { tier: "free" }, false],
    ["team in (a,b)", { team: "b" }, true],
    ["team in (a, b)", { team: "c" }, false],
    ["team in (a,b)", {}, false],
    ["team notin (a,b)", { team: "c" }, true],
    ["team notin (a,b)", {}, true],
    ["team notin (a,b)", { team: "a" }, false],
    ["beta", { beta: "" }, true],
    ["beta", {}, false],
    ["!beta", {}, true],
    ["!beta", { beta: "1" }, false],
    ["env=prod,tier!=free", { env: "prod", tier: "pro" }, true],
    ["env=prod,tier!=free", { env: "prod", tier: "free" }, false],
    ["team in (a,b),env=prod", { team: "a", env: "prod" }, true],
    // What every object has is no label.
    ["constructor", {}, false],
    ["!toString", {}, true],
  ])("%s of %j is %s", (selector, labels, expected) => {
    expect(matches(selector, labels)).toBe(expected);
  });

  it.each([",", "a=b,", "a in", "a in (b", "a=b=c", "a b", "=x", "(a)", "a in (b) c", "!", "!!a"])(
    "refuses %s and names it",
    (text) => {
      expect(() => parseSelector(text)).toThrow(/selector/);
    },
  );

  it("is bounded", () => {
    expect(() => parseSelector("a".repeat(5_000))).toThrow(/longer/);
    expect(() => parseSelector(Array.from({ length: 65 }, (_, at) => `k${at}`).join(","))).toThrow(
      /more than/,
    );
  });

  it("reads back what it wrote", () => {
    const word = fc.stringMatching(/^[a-z0-9./-]{1,8}$/);
    const requirement = fc.oneof(
      fc.record({
        kind: fc.constantFrom("in" as const, "not_in" as const),
        key: word,
        values: fc.array(word, { minLength: 1, maxLength: 3 }),
      }),
      fc.record({ kind: fc.constantFrom("exists" as const, "missing" as const), key: word }),
    );
    fc.assert(
      fc.property(fc.array(requirement, { maxLength: 5 }), (selector) => {
        expect(parseSelector(formatSelector(selector))).toEqual(selector);
      }),
    );
  });
});
