// Entry of every npm script. Plain JavaScript without dependencies: it has to work before anything is installed.
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { installDependencies } from "./install.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const main = "packages/landlord/src/start/main.ts";

/** What each script runs. TypeScript goes through tsx; the rest is a program of a dependency. */
const COMMANDS = {
  start: [main, "dev"],
  landlord: [main],
  demo: ["scripts/demo.ts"],
  bench: ["bench/run.ts"],
  chaos: ["chaos/run.ts"],
  soak: ["chaos/soak.ts"],
  sim: ["simulation/main.ts"],
  check: ["scripts/check.ts"],
  generate: ["scripts/generate.ts"],
  build: ["scripts/build.ts"],
  test: ["node_modules/vitest/vitest.mjs", "run"],
  conformance: ["node_modules/vitest/vitest.mjs", "run", "conformance"],
  "conformance:aws": ["scripts/conformance-aws.ts"],
  format: ["node_modules/prettier/bin/prettier.cjs", "--write", "."],
};

const [name, ...args] = process.argv.slice(2);
const command = COMMANDS[name];

if (command === undefined) {
  fail(`there is no script "${name ?? ""}"; the scripts are ${Object.keys(COMMANDS).join(", ")}`);
} else if (!isSupported(process.versions.node)) {
  fail(
    `Landlord runs on Node 20.19 or a later 20, 22.12 or a later 22, and 24 or newer; this is ${process.versions.node}.`,
    "Install one of these, for example the current LTS from https://nodejs.org, and run this again.",
  );
} else {
  const code = await installDependencies(root);
  if (code === 0) run([...command, ...args]);
  else process.exitCode = code;
}

function isSupported(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
}

function fail(...lines) {
  process.stderr.write(`error: ${lines.join("\n")}\n`);
  process.exitCode = 1;
}

function run([entry, ...rest]) {
  const flags = entry.endsWith(".ts") ? ["--conditions=source", "--import", import.meta.resolve("tsx")] : [];
  const child = spawn(process.execPath, [...flags, `${root}${entry}`, ...rest], { stdio: "inherit" });

  // A terminal sends Ctrl-C and hang-up to the child as well. Passing them on would make each a second signal,
  // which means "stop at once".
  const fromTerminal = hasTerminal() ? ["SIGINT", "SIGQUIT", "SIGHUP"] : [];
  for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGUSR2"]) {
    process.on(signal, () => {
      if (!fromTerminal.includes(signal)) child.kill(signal);
    });
  }
  child.on("error", (error) => fail(`cannot start ${process.execPath}: ${error.message}`));
  child.on("exit", (code, signal) => {
    process.exit(signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0));
  });
}

function hasTerminal() {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
