/** docs/quickstart.md, as a reader runs it: every block, in order, in one shell, in a checkout of its own. */
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort, ROOT, until } from "./support/dev.ts";

interface Block {
  readonly script: string;
  /** Lines that the page says it shows; each has to be part of what is shown, in this order. */
  readonly shows: readonly string[];
}

const PAGE = readFileSync(join(ROOT, "docs/quickstart.md"), "utf8");
const BLOCKS: readonly Block[] = [
  ...PAGE.matchAll(/^```sh\n([\s\S]*?)^```\n(?:\n```console\n([\s\S]*?)^```)?/gm),
].map(([, script = "", shown = ""]) => ({ script, shows: shown.split("\n").filter((line) => line !== "") }));

const END = "--- end of block";

/** What a checkout has at its top; the folder itself stays clean of what the page makes. */
const CHECKOUT = ["package.json", "package-lock.json", "node_modules", "packages", "scripts", ".npmrc"];

let folder: string;
let shell: ReturnType<typeof spawn>;
let output = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "landlord-quickstart-"));
  chmodSync(folder, 0o711);
  for (const name of CHECKOUT) symlinkSync(join(ROOT, name), join(folder, name));
  // Its own process group: what it starts in the background ends with it, also when a block fails.
  shell = spawn("bash", ["-m"], {
    cwd: folder,
    detached: true,
    env: {
      PATH: process.env["PATH"],
      HOME: folder,
      npm_config_offline: "true",
      npm_config_update_notifier: "false",
    },
    stdio: ["pipe", "pipe", "pipe"],
  });
  for (const stream of [shell.stdout, shell.stderr])
    stream?.on("data", (chunk: Buffer) => (output += chunk.toString()));
});

afterAll(async () => {
  const exited = new Promise((resolve) => shell.once("exit", resolve));
  // Without a terminal, what it started shares its process group, and `kill %1` ends npm, but not what npm started.
  const group = -(shell.pid ?? 0);
  shell.stdin?.end("\n");
  await exited;
  signal(group, "SIGTERM");
  await until("everything of the page has ended", 60_000, () => !signal(group, 0));
  rmSync(folder, { recursive: true, force: true });
}, 90_000);

/** Answers whether there was anybody to hear it. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

/** Another port than the page's, which may be taken; nothing else is changed. */
let port = 0;

async function run(script: string): Promise<{ readonly status: number; readonly shown: string }> {
  port ||= await freePort();
  const from = output.length;
  // `set -e` would end the shell itself: a failing line ends the block with its status instead.
  const guarded = script.replaceAll("8081", String(port));
  shell.stdin?.write(`set -o pipefail\nfunction block {\n${errexit(guarded)}\n}\nblock\necho "${END} $?"\n`);
  await until("the block has ended", 150_000, () => {
    if (shell.exitCode !== null)
      throw new Error(`landlord dev ended with ${shell.exitCode}: ${output.slice(from)}`);
    return output.slice(from).includes(END);
  });
  const [shown = "", status = "1"] = output.slice(from).split(END);
  return { status: Number.parseInt(status.trim(), 10), shown };
}

/** Each statement of a block has to succeed. */
function errexit(script: string): string {
  return `trap 'return 1' ERR\n${script}\ntrap - ERR`;
}

describe("docs/quickstart.md", () => {
  test("has blocks, and shows something after most of them", () => {
    expect(BLOCKS.length).toBeGreaterThan(7);
    expect(BLOCKS.filter(({ shows }) => shows.length > 0).length).toBeGreaterThan(6);
  });

  test.each(BLOCKS.map((block, index) => [index + 1, block.script.split("\n")[0] ?? "", block] as const))(
    "block %i: %s",
    { timeout: 180_000 },
    async (_index, _line, { script, shows }) => {
      const { status, shown } = await run(script);
      expect(status, shown).toBe(0);
      let rest = shown;
      for (const line of shows) {
        expect(rest, shown).toContain(line);
        rest = rest.slice(rest.indexOf(line) + line.length);
      }
    },
  );
});
