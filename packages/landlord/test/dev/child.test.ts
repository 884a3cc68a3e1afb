/** A process of `landlord dev` is started before what it uses, and is told when that is there. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
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

function start(onReadyAgain: () => void = () => undefined): Steps {
  const settings = withResolvers<Readonly<Record<string, string>>>();
  const [engine, api] = [withResolvers<void>(), withResolvers<void>()];
  child = keepRunning({
    name: "child",
    args: [CHILD],
    env: { PATH: process.env["PATH"] ?? "" },
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
const SETTINGS = JSON.stringify({ kind: "settings", settings: { NAME: "value" } });
const ENGINE = JSON.stringify({ kind: "up", part: "engine" });
const API = JSON.stringify({ kind: "up", part: "api" });

test("it runs before its settings are known, and hears of each part when that is up", async () => {
  const steps = start();
  await saying([STARTED]);
  // Nothing is up for a child that knows nothing yet.
  steps.engineUp();
  steps.settings();
  await saying([STARTED, SETTINGS, ENGINE]);
  steps.apiUp();
  await saying([STARTED, SETTINGS, ENGINE, API]);
  await child?.ready;
});

test("one that is started again is told everything again", async () => {
  const again = withResolvers<void>();
  const steps = start(() => again.resolve());
  steps.settings();
  steps.engineUp();
  steps.apiUp();
  await child?.ready;
  process.kill(child?.pid ?? 0, "SIGKILL");
  await again.promise;
  const once = [STARTED, SETTINGS, ENGINE, API];
  expect(said()).toEqual([...once, ...once]);
});
