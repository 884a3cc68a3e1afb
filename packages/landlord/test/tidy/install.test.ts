import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ROOT } from "../../../../scripts/source-files.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "landlord-install-"));
  writeFileSync(join(root, "package-lock.json"), lockfile("1.0.0"));
  // Stands for npm: notes that it ran, as npm does in node_modules.
  writeFileSync(
    join(root, "npm-cli.js"),
    `const fs = require("fs");
     fs.appendFileSync("runs.log", process.argv.slice(2).join(" ") + "\\n");
     fs.rmSync("node_modules", { recursive: true, force: true });
     setTimeout(() => {
       fs.mkdirSync("node_modules", { recursive: true });
       fs.copyFileSync("package-lock.json", "node_modules/.package-lock.json");
       process.exit(fs.existsSync("fail") ? 3 : 0);
     }, 700);`,
  );
});
afterEach(() => rmSync(root, { recursive: true }));

function lockfile(version: string): string {
  return JSON.stringify({ packages: { "": {}, "node_modules/a": { version, integrity: `of ${version}` } } });
}

async function install(): Promise<{ readonly code: unknown; readonly out: string; readonly err: string }> {
  const script = `import { installDependencies } from ${JSON.stringify(join(ROOT, "scripts/install.mjs"))};
    process.exitCode = await installDependencies(${JSON.stringify(root)});`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    cwd: root,
    env: { ...process.env, npm_execpath: join(root, "npm-cli.js") },
  });
  const [exit, out, err] = await Promise.all([once(child, "exit"), text(child.stdout), text(child.stderr)]);
  return { code: exit[0], out, err };
}

function runs(): number {
  try {
    return readFileSync(join(root, "runs.log"), "utf8").trim().split("\n").length;
  } catch {
    return 0;
  }
}

const leftovers = () => readdirSync(root).filter((name) => name.startsWith(".install.lock"));

describe("installing", () => {
  it("happens once, and again only when the lockfile's content changes", async () => {
    const first = await install();
    expect(first).toMatchObject({ code: 0, out: "" });
    expect(first.err).toContain("Installing dependencies");
    expect(await install()).toEqual({ code: 0, out: "", err: "" });
    utimesSync(join(root, "package-lock.json"), new Date(), new Date());
    expect((await install()).err).toBe("");
    expect(runs()).toBe(1);
    writeFileSync(join(root, "package-lock.json"), lockfile("2.0.0"));
    await install();
    expect(runs()).toBe(2);
    expect(leftovers()).toEqual([]);
  });

  it("leaves alone what npm itself installed", async () => {
    mkdirSync(join(root, "node_modules"));
    writeFileSync(join(root, "node_modules/.package-lock.json"), lockfile("1.0.0"));
    expect(await install()).toEqual({ code: 0, out: "", err: "" });
    expect(runs()).toBe(0);
  });

  it("happens once for runs at the same time", async () => {
    const results = await Promise.all([install(), install(), install()]);
    expect(results.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(runs()).toBe(1);
    expect(leftovers()).toEqual([]);
  });

  it("passes a failure on, and tries again the next time", async () => {
    writeFileSync(join(root, "fail"), "");
    const failed = await install();
    expect(failed.code).toBe(3);
    expect(failed.err).toContain("npm ci failed with exit code 3");
    rmSync(join(root, "node_modules"), { recursive: true });
    rmSync(join(root, "fail"));
    expect((await install()).code).toBe(0);
    expect(leftovers()).toEqual([]);
  });

  it.each([
    ["whose process is gone", { pid: 2 ** 22 + 1 }, 0],
    ["that nobody kept fresh", { pid: process.pid, host: "elsewhere" }, 60_000],
  ])("takes over a lock %s", async (_, owner, ageMs) => {
    const { hostname } = await import("node:os");
    const lock = join(root, ".install.lock");
    mkdirSync(lock);
    writeFileSync(join(lock, "owner.json"), JSON.stringify({ token: "old", host: hostname(), ...owner }));
    const then = new Date(Date.now() - ageMs);
    utimesSync(lock, then, then);
    expect((await install()).code).toBe(0);
    expect(runs()).toBe(1);
    expect(leftovers()).toEqual([]);
  });
});
