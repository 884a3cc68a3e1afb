/** A process of `landlord dev` is started before what it uses, and is told when that is there. */
import { spawn, type ChildProcess } from "node:child_process";
import { once as nextOf } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startAhead, startServerAhead } from "../../src/start/dev/ahead.ts";
import { keepRunning, type ManagedChild } from "../../src/start/dev/child.ts";

const CHILD = fileURLToPath(new URL("told-child.mjs", import.meta.url));

let folder: string;
let child: ManagedChild | null = null;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "landlord-child-"));
});
afterEach(async () => {
  await child?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Node 20 has none. */
function withResolvers<T>(): { readonly promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve: (value) => resolve(value) };
}

interface Steps {
  settings(): void;
  engineUp(): void;
  apiUp(): void;
}

function start(first: ChildProcess | null, onReadyAgain: () => void = () => undefined): Steps {
  const settings = withResolvers<Readonly<Record<string, string>>>();
  const [engine, api] = [withResolvers<void>(), withResolvers<void>()];
  child = keepRunning({
    name: "child",
    start: () => startAhead(CHILD, "worker"),
    first,
    words: ["worker", "--quiet"],
    settings: settings.promise,
    ups: { engine: engine.promise, api: api.promise },
    logFile: join(folder, "child.log"),
    onRestart: () => undefined,
    onReadyAgain,
  });
  return {
    settings: () => settings.resolve({ NAME: "value" }),
    engineUp: () => engine.resolve(),
    apiUp: () => api.resolve(),
  };
}

const said = (): string[] => readFileSync(join(folder, "child.log"), "utf8").trim().split("\n");
const saying = (lines: readonly string[]) =>
  vi.waitFor(() => expect(said()).toEqual(lines), { timeout: 10_000, interval: 20 });

const STARTED = "started 1";
const orders = (): string =>
  JSON.stringify({
    kind: "orders",
    words: ["worker", "--quiet"],
    settings: { NAME: "value" },
    logFile: join(folder, "child.log"),
  });
const ENGINE = JSON.stringify({ kind: "up", part: "engine" });
const API = JSON.stringify({ kind: "up", part: "api" });

test("it runs before its settings are known, and hears of each part when that is up", async () => {
  const steps = start(startAhead(CHILD, "worker"));
  // Nothing is up for a child that knows nothing yet.
  steps.engineUp();
  steps.settings();
  await saying([STARTED, orders(), ENGINE]);
  steps.apiUp();
  await saying([STARTED, orders(), ENGINE, API]);
  await child?.ready;
});

test("one that is started again is told everything again", async () => {
  const again = withResolvers<void>();
  const steps = start(null, () => again.resolve());
  steps.settings();
  steps.engineUp();
  steps.apiUp();
  await child?.ready;
  process.kill(child?.pid ?? 0, "SIGKILL");
  await again.promise;
  const once = [STARTED, orders(), ENGINE, API];
  expect(said()).toEqual([...once, ...once]);
});

test("one that ended before it was taken over is replaced", async () => {
  const ended = spawn(process.execPath, ["--eval", ""], { stdio: ["ignore", "ignore", "ignore", "ipc"] });
  await nextOf(ended, "exit");
  const steps = start(ended);
  steps.settings();
  steps.engineUp();
  steps.apiUp();
  await child?.ready;
  expect(said()).toEqual([STARTED, orders(), ENGINE, API]);
});

test("processes are started ahead for `dev`, and for nothing else", () => {
  for (const words of [[], ["serve"], ["config", "print", "--role", "dev"], ["dev", "--help"]]) {
    expect(startServerAhead(CHILD, words)).toEqual({});
  }
});
