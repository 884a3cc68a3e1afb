#!/usr/bin/env node
// Runs the built program; in a source checkout that was not built, the sources through tsx.
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

const built = fileURLToPath(new URL("../dist/start/main.cjs", import.meta.url));
if (existsSync(built)) createRequire(import.meta.url)(built);
else runSources();

function runSources() {
  const main = fileURLToPath(new URL("../src/start/main.ts", import.meta.url));
  // Resolved from here: `--import tsx` would look in the current folder.
  const flags = ["--conditions=source", "--import", import.meta.resolve("tsx")];
  const child = spawn(process.execPath, [...flags, main, ...process.argv.slice(2)], { stdio: "inherit" });

  // A terminal sends Ctrl-C and hang-up to the child as well. Passing them on would make each a second signal,
  // which means "stop at once".
  const fromTerminal = hasTerminal() ? ["SIGINT", "SIGQUIT", "SIGHUP"] : [];
  for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGUSR2"]) {
    process.on(signal, () => {
      if (!fromTerminal.includes(signal)) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    process.stderr.write(`error: cannot start ${process.execPath}: ${error.message}\n`);
    process.exitCode = 1;
  });
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
