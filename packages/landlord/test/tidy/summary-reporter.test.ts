import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ROOT } from "../../../../scripts/source-files.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "landlord-summary-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Exit code and last line of a run over one file with this text. */
async function runOf(
  source: string | null,
  ...flags: readonly string[]
): Promise<{ readonly code: unknown; readonly last: string | undefined }> {
  if (source !== null) writeFileSync(join(folder, "a.test.js"), source);
  const args = ["run", "--root", folder, "--globals", "--reporter=default"];
  const reporter = `--reporter=${join(ROOT, "scripts/summary-reporter.ts")}`;
  const child = spawn(
    process.execPath,
    [join(ROOT, "node_modules/vitest/vitest.mjs"), ...args, reporter, ...flags],
    { cwd: folder, stdio: ["ignore", "pipe", "ignore"] },
  );
  const [exit, out] = await Promise.all([once(child, "exit"), text(child.stdout)]);
  return { code: exit[0], last: out.trimEnd().split("\n").at(-1) };
}

const good = 'test("good", () => {});';

describe("the last line of a test run", () => {
  it.each([
    ["a pass", good, 0, "1 passed, 0 failed"],
    ["a failure", `${good} test("bad", () => { throw new Error("no"); });`, 1, "1 passed, 1 failed"],
    ["a skip", `${good} test.skip("later", () => {});`, 1, "1 passed, 0 failed, 1 skipped"],
    ["a plan", `${good} test.todo("later");`, 1, "1 passed, 0 failed, 1 skipped"],
    ["a skip from inside", `${good} test("b", (c) => c.skip());`, 1, "1 passed, 0 failed, 1 skipped"],
    ["a file that does not load", 'throw new Error("no");', 1, "0 passed, 1 failed"],
    [
      "a stray rejection",
      `${good} test("b", () => { void Promise.reject(new Error("x")); });`,
      1,
      "2 passed, 1 failed",
    ],
    ["no file at all", null, 1, "0 passed, 0 failed"],
  ])("tells of %s", async (_, source, code, last) => {
    expect(await runOf(source)).toEqual({ code, last });
  });

  it("counts only what was asked for by name", async () => {
    expect(await runOf(`${good} test("other", () => {});`, "-t", "good")).toEqual({
      code: 0,
      last: "1 passed, 0 failed",
    });
    expect(await runOf(good, "-t", "nothing")).toEqual({ code: 1, last: "0 passed, 0 failed" });
  });
});
