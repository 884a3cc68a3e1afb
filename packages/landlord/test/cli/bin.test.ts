import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const bin = fileURLToPath(new URL("../../bin/landlord.mjs", import.meta.url));
const modules = path.resolve(path.dirname(createRequire(import.meta.url).resolve("tsx/package.json")), "..");
let root: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "landlord-bin-"));
  for (const folder of ["bin", "src/start", "dist/start"])
    mkdirSync(path.join(root, folder), { recursive: true });
  copyFileSync(bin, path.join(root, "bin/landlord.mjs"));
  symlinkSync(modules, path.join(root, "node_modules"));
  writeFileSync(path.join(root, "package.json"), '{"type": "module"}');
});
afterEach(() => rmSync(root, { recursive: true }));

function start(...argv: string[]) {
  // Away from the sources: nothing may depend on the folder that the command is called in.
  const child = spawn(process.execPath, [path.join(root, "bin/landlord.mjs"), ...argv], { cwd: tmpdir() });
  return {
    child,
    output: text(child.stdout),
    exit: once(child, "exit") as Promise<[number | null, string | null]>,
  };
}

describe("landlord.mjs", () => {
  it("runs the sources where nothing was built, and passes on words and exit code", async () => {
    const main = `import { createClient } from "@landlord/client";
      const words: string[] = process.argv.slice(2);
      console.log(typeof createClient, words.join());
      process.exitCode = 7;`;
    writeFileSync(path.join(root, "src/start/main.ts"), main);
    const { output, exit } = start("a", "--b c");
    expect(await exit).toEqual([7, null]);
    expect(await output).toBe("function a,--b c\n");
  });

  it("passes on the signal to end", async () => {
    const main = `process.on("SIGTERM", () => { console.log("bye"); process.exit(3); });
      setInterval(() => {}, 1000);
      console.log("up");`;
    writeFileSync(path.join(root, "src/start/main.ts"), main);
    const { child, output, exit } = start();
    await once(child.stdout, "data");
    child.kill("SIGTERM");
    expect(await exit).toEqual([3, null]);
    expect(await output).toContain("bye");
  });

  it("prefers what was built", async () => {
    writeFileSync(path.join(root, "dist/start/main.cjs"), "console.log('built', process.argv[2]);");
    const { output, exit } = start("x");
    expect(await exit).toEqual([0, null]);
    expect(await output).toBe("built x\n");
  });
});
