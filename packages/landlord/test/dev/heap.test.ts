import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { HEAP_GROWTH_FLAG } from "../../src/start/heap.ts";

// An unknown flag is no error to V8: it would only be without effect.
it("knows the flag that keeps the heap small", () => {
  const known = execFileSync(process.execPath, ["--v8-options"], { encoding: "utf8" });
  expect(known).toContain(`${HEAP_GROWTH_FLAG} (`);
});
