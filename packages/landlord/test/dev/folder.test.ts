/** One supervisor for each folder, whoever starts at once and whoever was killed before. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const HOLDER = fileURLToPath(new URL("hold-folder.ts", import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "landlord-folder-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Kills it, unless it has ended by itself. */
async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

function hold(): { readonly child: ChildProcess; readonly said: Promise<string> } {
  const child = spawn(process.execPath, ["--conditions=source", "--import", TSX, HOLDER, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const said = new Promise<string>((resolve) =>
    child.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim())),
  );
  return { child, said };
}

test(
  "of several that start at once after a crash, exactly one holds the folder",
  { timeout: 60_000 },
  async () => {
    for (let round = 0; round < 3; round++) {
      const crashed = hold();
      expect(await crashed.said).toBe("held");
      await killed(crashed.child);
      const answers = await Promise.all(Array.from({ length: 4 }, () => hold().said));
      expect(answers.filter((answer) => answer === "held")).toHaveLength(1);
      expect(answers.filter((answer) => answer.includes("is in use by another `landlord dev`"))).toHaveLength(
        3,
      );
      await Promise.all(children.splice(0).map(killed));
    }
  },
);
