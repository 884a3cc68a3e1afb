/** The documents keep their word: what the README tells people to type works, links lead somewhere, tests exist. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commandProblems } from "./support/command-lines.ts";
import { LANDLORD, ROOT, startDev, type Dev } from "./support/dev.ts";

const DOCUMENTS = [
  "README.md",
  "ARCHITECTURE.md",
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
].sort();
/** Its cells hold text of other documents, word for word. */
const REQUIREMENTS = "docs/requirements.md";

const textOf = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const withoutCode = (text: string): string =>
  text.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "");

interface Run {
  readonly status: number | null;
  readonly output: string;
}

function bash(script: string, env: Record<string, string>): Promise<Run> {
  const child = spawn("bash", ["-c", script], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((settle, reject) => {
    child.on("error", reject);
    child.on("close", (status) => settle({ status, output }));
  });
}

describe("the quickstart", () => {
  let folder: string;
  let dev: Dev;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "landlord-readme-"));
    chmodSync(folder, 0o711);
    // What `npm start` runs; startDev adds --port and --data-dir.
    dev = await startDev(join(folder, "data"), {
      cwd: ROOT,
      command: [process.execPath, join(ROOT, "scripts/run.mjs"), "start"],
    });
  }, 180_000);
  afterAll(async () => {
    await dev.stop();
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  const blocks = [...textOf("README.md").matchAll(/<!-- quickstart -->\n+```bash\n([\s\S]*?)^```/gm)].map(
    ([, block]) => block ?? "",
  );

  test("has a block for the command line and one for curl", () => {
    expect(blocks).toHaveLength(2);
    expect(blocks[0]).toContain("npx landlord create");
    expect(blocks[1]).toContain("curl");
  });

  test.each(blocks.map((block) => [block.split("\n")[0] ?? "", block]))(
    "every line works: %s",
    { timeout: 120_000 },
    async (_first, block) => {
      // -e ends at the first command that fails; -E lets the trap say which one, inside functions too.
      const strict = `set -Eeuo pipefail; trap 'echo "FAILED: $BASH_COMMAND" >&2' ERR`;
      const { status, output } = await bash(`${strict}\n${block}`, {
        LANDLORD_API_URL: dev.url,
        npm_config_offline: "true",
      });
      expect(output).not.toContain("FAILED");
      expect(status, output).toBe(0);
    },
  );

  test("shows the answers that come", { timeout: 60_000 }, async () => {
    const config = `{"command": ["${process.execPath}", "-e", "setInterval(() => {}, 1000)"]}`;
    const { status, output } = await bash(
      `"${process.execPath}" "${LANDLORD}" create --tenant-name shown --wait --config '${config}' && "${process.execPath}" "${LANDLORD}" delete shown --wait`,
      { LANDLORD_API_URL: dev.url },
    );
    expect(status, output).toBe(0);
    expect(output).toMatch(
      /NAME +STATUS +GENERATION +PROVIDER +ENDPOINT +AGE +MESSAGE\nshown +ready +1\/1 +process/,
    );
    expect(output).toContain("shown deleted");
  });
});

describe.each(DOCUMENTS)("%s", (path) => {
  test("has no link that leads nowhere", () => {
    const text = withoutCode(textOf(path));
    const links = [
      ...[...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? ""),
      ...[...text.matchAll(/^\[[^\]]+\]:\s*(\S+)/gm)].map(([, target]) => target ?? ""),
    ].filter((target) => !/^[a-z]+:/.test(target));
    expect(links.filter((link) => !leadsSomewhere(path, link))).toEqual([]);
  });

  test("has only shell that a shell understands", async () => {
    const blocks = [...textOf(path).matchAll(/^ *```(?:sh|bash)\n([\s\S]*?)^ *```/gm)].map(
      ([, block]) => block ?? "",
    );
    for (const block of blocks) {
      // -n reads it and runs nothing.
      const { status, output } = await bash(`bash -n <<'END_OF_BLOCK'\n${block}\nEND_OF_BLOCK`, {});
      expect(status, output).toBe(0);
      expect(output).toBe("");
    }
  });

  test("calls the command line as it is", { timeout: 120_000 }, async () => {
    expect(await commandProblems(textOf(path))).toEqual([]);
  });

  test("names only files of this repository that exist", () => {
    if (path === REQUIREMENTS) return;
    const named = [
      ...textOf(path).matchAll(/`((?:packages|scripts|acceptance|docs|openapi)\/[\w./-]+\.\w+)`/g),
    ].map(([, file]) => file ?? "");
    expect(named.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
  });
});

/** A relative link: the file exists, and has the heading that the fragment names. */
function leadsSomewhere(from: string, link: string): boolean {
  const [file = "", fragment] = link.split("#");
  const target = file === "" ? join(ROOT, from) : resolve(ROOT, dirname(from), file);
  if (relative(ROOT, target).startsWith("..") || !existsSync(target)) return false;
  if (fragment === undefined) return true;
  return statSync(target).isFile() && headingsOf(readFileSync(target, "utf8")).has(fragment);
}

/** The fragments that GitHub makes from headings. */
function headingsOf(text: string): ReadonlySet<string> {
  const headings = text.replace(/^```[\s\S]*?^```/gm, "").matchAll(/^#{1,6} +(.+)$/gm);
  return new Set(
    [...headings].map(([, title = ""]) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

describe("docs/requirements.md", () => {
  const text = textOf(REQUIREMENTS);
  const files = new Map(
    [...text.matchAll(/^\[([\w/-]+)\]:\s*(\S+\.test\.ts)$/gm)].map(([, name = "", file = ""]) => [
      name,
      file,
    ]),
  );
  // [name]: "a test", "another"
  const references = [...text.matchAll(/\[([\w/-]+)\]((?: "[^"]+",?)+)/g)].flatMap(
    ([, name = "", quoted = ""]) =>
      [...quoted.matchAll(/"([^"]+)"/g)].map(([, title = ""]) => ({ name, title })),
  );

  test("names only tests that exist", () => {
    expect(references.length).toBeGreaterThan(60);
    const missing = references.filter(({ name, title }) => {
      const file = files.get(name);
      return file === undefined || !textOf(join("docs", file)).includes(title);
    });
    expect(missing).toEqual([]);
  });

  test("has a row for every task of change 1, and a test in each", () => {
    const rows = new Map(
      text
        .split("\n")
        .filter((line) => line.startsWith("| "))
        .map((line) => [/^\| (\d+\.\d+) /.exec(line)?.[1] ?? "", line] as const),
    );
    const tasks = [5, 4, 5, 5, 4, 5, 3, 3, 4, 5].flatMap((count, section) =>
      Array.from({ length: count }, (_, index) => `${section + 1}.${index + 1}`),
    );
    expect(tasks.filter((task) => !rows.has(task))).toEqual([]);
    for (const task of tasks) expect(rows.get(task), task).toMatch(/\[[\w/-]+\] "/);
  });
});
