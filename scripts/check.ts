/** Everything about the code that can be checked without running it. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "./source-files.ts";

const LANES = 2;

interface Check {
  readonly name: string;
  /** Answers what is wrong, line by line; nothing when all is well. May throw. */
  readonly run: () => Promise<readonly string[]>;
}

interface Result {
  readonly name: string;
  readonly problems: readonly string[];
}

/** A program of a dependency or of the system; its output is the problem when it fails. */
function program(name: string, command: string, args: readonly string[]): Check {
  return {
    name,
    run: () =>
      new Promise((resolve, reject) => {
        const child = spawn(command, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
        let output = "";
        const collect = (chunk: Buffer): void => {
          output += chunk.toString();
        };
        child.stdout.on("data", collect);
        child.stderr.on("data", collect);
        child.on("error", reject);
        child.on("close", (code) => {
          if (code === 0) resolve([]);
          else resolve([output.trim() || `${command} ended with exit code ${code}`]);
        });
      }),
  };
}

function node(name: string, path: string, ...args: readonly string[]): Check {
  return program(name, process.execPath, [join(ROOT, "node_modules", path), ...args]);
}

function generated(name: string, path: string): Check {
  return {
    name,
    run: async () => {
      const { generateFiles, outdated } = await import("./generate.ts");
      const files = (await generateFiles()).filter((file) => file.path === path);
      return outdated(files).map((each) => `${each} is out of date: run npm run generate`);
    },
  };
}

/** The long ones first, so that the lanes end together. */
const CHECKS: readonly Check[] = [
  node("types", "typescript/bin/tsc", "-p", "tsconfig.json"),
  node("types of the example", "typescript/bin/tsc", "-p", "examples/landlord-compute-static"),
  node("format", "prettier/bin/prettier.cjs", "--check", "--log-level=warn", "."),
  node("lint", "oxlint/bin/oxlint", "--deny-warnings", "--format=unix", "."),
  node("dead code", "knip/bin/knip.js", "--no-progress", "--no-config-hints"),
  {
    name: "import directions",
    run: async () => {
      const { findViolations } = await import("./import-directions.ts");
      const { readTypeScript } = await import("./source-files.ts");
      return findViolations(readTypeScript("packages", "acceptance")).map(
        ({ path, line, message }) => `${path}:${line}: ${message}`,
      );
    },
  },
  { name: "tidy", run: async () => (await import("./tidy-checkout.ts")).tidyProblems() },
  generated("OpenAPI document", "openapi/openapi.json"),
  generated("client schema", "packages/client/src/schema.ts"),
  generated("configuration reference", "docs/configuration.md"),
  generated("reference of errors", "docs/errors.md"),
  ...["process", "docker", "ecs", "mock"].map((name) =>
    generated(`reference of ${name}`, `docs/${name}-compute.md`),
  ),
  { name: "engines", run: async () => (await import("./engines.ts")).checkEngines() },
  program("CI script", "bash", ["-n", ".ci/run"]),
];

async function perform(check: Check): Promise<Result> {
  const start = Date.now();
  let problems: readonly string[];
  try {
    problems = await check.run();
  } catch (error) {
    problems = [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
  const seconds = ((Date.now() - start) / 1000).toFixed(1).padStart(5);
  process.stdout.write(
    `${problems.length === 0 ? "ok    " : "FAILED"}  ${check.name.padEnd(24)}${seconds} s\n`,
  );
  return { name: check.name, problems };
}

const waiting = [...CHECKS];
const results: Result[] = [];

async function lane(): Promise<void> {
  for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
    results.push(await perform(check));
  }
}

await Promise.all(Array.from({ length: LANES }, lane));

const failures = results.filter(({ problems }) => problems.length > 0);
for (const { name, problems } of failures) process.stdout.write(`\n${name}:\n${problems.join("\n")}\n`);
const passed = results.length - failures.length;
process.stdout.write(`\n${passed} checks passed, ${failures.length} failed\n`);
if (failures.length > 0) process.exitCode = 1;
