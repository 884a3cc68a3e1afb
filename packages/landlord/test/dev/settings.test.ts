/** What server and worker of `landlord dev` are told. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { loadConfig } from "../../src/config/load.ts";
import { passedOn } from "../../src/config/passed-on.ts";
import { commandLineOf, serverSettings, workerSettings, type Shared } from "../../src/start/dev/settings.ts";

const DATABASE_URL = "postgres://landlord:secret@127.0.0.1:5432/landlord";

beforeEach(() => {
  vi.stubEnv("LANDLORD_DATABASE__URL", "postgres://mine:secret@127.0.0.1:5432/mine");
  vi.stubEnv("LANDLORD_DATABASE__MAX_CONNECTIONS", "7");
  vi.stubEnv("LANDLORD_WORKER__PROGRESS", "false");
  vi.stubEnv("SOMETHING_ELSE", "1");
});
afterEach(() => vi.unstubAllEnvs());

function shared(change: Partial<Shared> = {}): Shared {
  return {
    config: loadConfig({ role: "dev", computeSchemas: {}, env: {}, cwd: "/" }).config,
    dataDir: "/data",
    apiUrl: "http://127.0.0.1:8081",
    ports: { api: 8081, worker: 9081 },
    engine: {
      ingressUrl: "http://127.0.0.1:1",
      adminUrl: "http://127.0.0.1:2",
      identityKey: "publickeyv1_x",
    },
    payloadKey: "key",
    ...change,
  };
}

test("a worker is told everything that it needs, and nothing of any database", () => {
  const told = workerSettings(shared());
  expect(told).toMatchObject({
    LANDLORD_DATA_DIR: "/data",
    LANDLORD_WORKER__API_URL: "http://127.0.0.1:8081",
    LANDLORD_WORKER__PROGRESS: "false",
    LANDLORD_WORKFLOW__RESTATE__ENDPOINT: "http://127.0.0.1:1",
    LANDLORD_WORKFLOW__RESTATE__ADMIN_ENDPOINT: "http://127.0.0.1:2",
    LANDLORD_WORKFLOW__RESTATE__WORKER_LISTEN_PORT: "9081",
    LANDLORD_WORKFLOW__RESTATE__WORKER_IDENTITY_KEYS: '["publickeyv1_x"]',
    LANDLORD_WORKFLOW__ENCRYPTION_KEY: "key",
  });
  const flags = [{ key: "database.url", value: DATABASE_URL, flag: "--set" }];
  const words = commandLineOf({ flags }, "worker");
  expect(JSON.stringify([told, words, passedOn()])).not.toMatch(/database|postgres/i);
});

test("a server is told of the database that was started for it, whatever the environment says", () => {
  const told = serverSettings(shared(), DATABASE_URL);
  expect(told).toMatchObject({
    LANDLORD_DATABASE__URL: DATABASE_URL,
    LANDLORD_DATABASE__MAX_CONNECTIONS: "7",
    LANDLORD_HTTP__PORT: "8081",
    LANDLORD_COMPUTE__PROCESS: "{}",
  });
});

test("keys of the user's own are not overruled, and an engine of their own signs nothing", () => {
  const told = workerSettings(
    shared({
      payloadKey: null,
      engine: { ingressUrl: "http://127.0.0.1:1", adminUrl: "http://127.0.0.1:2", identityKey: null },
    }),
  );
  expect(told).not.toHaveProperty("LANDLORD_WORKFLOW__ENCRYPTION_KEY");
  expect(told).toMatchObject({ LANDLORD_WORKFLOW__RESTATE__WORKER_IDENTITY_KEYS: "[]" });
});

test("what a process begins with is not the user's whole environment", () => {
  expect(passedOn()).not.toHaveProperty("SOMETHING_ELSE");
  expect(passedOn()).toMatchObject({ PATH: process.env["PATH"] });
});
