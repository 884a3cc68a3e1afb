import { describe, expect, it } from "vitest";
import { checkEngines, engineProblems } from "../../../../scripts/engines.ts";

const lockfile = (node: string, optional = false): string =>
  JSON.stringify({ packages: { "node_modules/a": { version: "1.0.0", engines: { node }, optional } } });

describe("engines", () => {
  it("exclude no supported Node in the real lockfile", () => {
    expect(checkEngines()).toEqual([]);
  });

  it.each([">=20", "^20.19.0 || ^22.12.0 || >=24", "*", "not a range"])("takes %s", (range) => {
    expect(engineProblems(lockfile(range))).toEqual([]);
  });

  it("names the package and the versions that it excludes", () => {
    expect(engineProblems(lockfile(">=22"))).toEqual([
      "node_modules/a 1.0.0 wants Node >=22.0.0, which excludes 20.19.0",
    ]);
    expect(engineProblems(lockfile("^20.20.0"))).toHaveLength(1);
    expect(engineProblems(lockfile(">=22", true))).toEqual([]);
  });
});
