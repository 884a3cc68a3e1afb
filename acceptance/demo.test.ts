/** The demo succeeds only when it has seen every step: spoil one, and it must fail. */
import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LANDLORD, ROOT } from "./support/dev.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "landlord-sabotage-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Run {
  readonly status: number | null;
  readonly output: string;
}

function runDemo(...words: string[]): Promise<Run> {
  const child = spawn(process.execPath, [`${ROOT}scripts/run.mjs`, "demo", ...words], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => output.push(chunk.toString()));
  return new Promise((resolve) =>
    child.once("close", (status) => resolve({ status, output: output.join("") })),
  );
}

function runSpoiled(spoiled: string): Promise<Run> {
  const saboteur = join(folder, "saboteur.mjs");
  copyFileSync(`${ROOT}acceptance/support/saboteur.mjs`, saboteur);
  writeFileSync(join(folder, "saboteur.json"), JSON.stringify([spoiled, LANDLORD, join(folder, "port")]));
  return runDemo("--cli", saboteur);
}

test("the demo does the main job and says so", { timeout: 120_000 }, async () => {
  const { status, output } = await runDemo();
  expect(output).toMatch(/9\. stop everything\n\s+✓/);
  expect(output).toMatch(/Done in \d+/);
  expect(status).toBe(0);
});

test("a saboteur that spoils nothing is not noticed", { timeout: 120_000 }, async () => {
  expect((await runSpoiled("nothing")).status).toBe(0);
});

test.each([
  ["start", /the system ended with exit code 0/],
  ["create", /the tenant is not ready/],
  ["first-answer", /answers “hello”/],
  ["set", /the change did not become ready/],
  ["second-answer", /answers “good evening”/],
  ["archive", /the tenant is not archived/],
  ["delete", /the tenant is still there/],
  ["leftover", /port \d+ is still open/],
  ["stop", /the system ended with 3/],
])("spoiling “%s” fails the demo", { timeout: 120_000 }, async (spoiled, reason) => {
  const { status, output } = await runSpoiled(spoiled);
  expect(output).toMatch(reason);
  expect(status).toBe(1);
});
