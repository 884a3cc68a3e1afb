/** A server and a worker in this process, over the shared PostgreSQL and Restate. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { inject } from "vitest";
import { loadConfig, type FlagSetting } from "../../src/config/load.ts";
import { computeRegistry, computeSchemas } from "../../src/start/compute-registry.ts";
import { startServer, type RunningServer } from "../../src/start/server.ts";
import { startWorker, type RunningWorker } from "../../src/start/worker.ts";
import { createLogger, silentLogger, type Logger } from "../../src/telemetry/logger.ts";
import type { Config, WorkerConfig } from "../../src/config/schema.ts";
import { createTestDatabase, type TestDatabase } from "./database.ts";

export const testLogger: Logger =
  process.env["TEST_LOG"] === undefined ? silentLogger : createLogger({ level: "debug", format: "pretty" });

const schemas = computeSchemas(computeRegistry());

function flagsOf(settings: Readonly<Record<string, unknown>>): FlagSetting[] {
  return Object.entries(settings).map(([key, value]) => ({ key, value, flag: "--set" }));
}

export function serverConfig(settings: Readonly<Record<string, unknown>>): Config {
  return loadConfig({ role: "server", computeSchemas: schemas, env: {}, cwd: "/", flags: flagsOf(settings) })
    .config;
}

export function workerConfig(settings: Readonly<Record<string, unknown>>): WorkerConfig {
  return loadConfig({ role: "worker", computeSchemas: schemas, env: {}, cwd: "/", flags: flagsOf(settings) })
    .config;
}

/** Settings that make tests quick: short intervals, free ports, and a namespace of their own. */
export function testSettings(dataDir: string, namespace: string): Record<string, unknown> {
  return {
    data_dir: dataDir,
    "workflow.restate.endpoint": inject("restateIngressUrl"),
    "workflow.restate.admin_endpoint": inject("restateAdminUrl"),
    "workflow.restate.worker_namespace": namespace,
  };
}

export interface TestSystem {
  readonly url: string;
  readonly database: TestDatabase;
  readonly dataDir: string;
  readonly namespace: string;
  readonly server: RunningServer;
  readonly worker: RunningWorker | null;
  startWorker(settings?: Readonly<Record<string, unknown>>): Promise<RunningWorker>;
  startServer(settings?: Readonly<Record<string, unknown>>): Promise<RunningServer>;
  stop(): Promise<void>;
}

export interface TestSystemOptions {
  readonly worker?: boolean;
  readonly server?: Readonly<Record<string, unknown>>;
  readonly workerSettings?: Readonly<Record<string, unknown>>;
}

export function randomNamespace(): string {
  return `t${randomUUID().replaceAll("-", "").slice(0, 12)}`;
}

/** Everything real, on free ports. Stop it in afterAll. */
export async function startTestSystem(options: TestSystemOptions = {}): Promise<TestSystem> {
  const [database, dataDir] = await Promise.all([
    createTestDatabase(),
    mkdtemp(join(tmpdir(), "landlord-system-")),
  ]);
  const namespace = randomNamespace();
  const common = testSettings(dataDir, namespace);
  const stops: (() => Promise<void>)[] = [];

  const startOneServer = async (settings: Readonly<Record<string, unknown>> = {}): Promise<RunningServer> => {
    const server = await startServer(
      serverConfig({
        ...common,
        "database.url": database.url,
        "http.port": 0,
        "controller.status_poll_interval": "200ms",
        "controller.backoff_initial": "200ms",
        "compute.process": {},
        "compute.mock": {},
        ...options.server,
        ...settings,
      }),
      testLogger.child({ part: "server" }),
      new AbortController().signal,
    );
    stops.push(() => server.stop());
    return server;
  };
  const server = await startOneServer();
  const startOneWorker = async (settings: Readonly<Record<string, unknown>> = {}): Promise<RunningWorker> => {
    const worker = await startWorker(
      workerConfig({
        ...common,
        "workflow.restate.worker_listen_port": 0,
        "worker.api_url": server.url,
        "worker.absence_settle": "50ms",
        "worker.shutdown_timeout": "2s",
        ...options.workerSettings,
        ...settings,
      }),
      testLogger.child({ part: "worker" }),
      new AbortController().signal,
    );
    stops.push(() => worker.stop());
    return worker;
  };
  const worker = options.worker === false ? null : await startOneWorker();

  return {
    url: server.url,
    database,
    dataDir,
    namespace,
    server,
    worker,
    startWorker: startOneWorker,
    startServer: startOneServer,
    async stop() {
      for (const stop of stops.reverse()) await stop();
      await database.drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
