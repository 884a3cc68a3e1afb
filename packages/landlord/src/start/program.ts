/** The composition root behind the command line. */
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { runCli } from "../cli/app.ts";
import type { ConfigSchemas, RunOptions, SchemaSources } from "../cli/context.ts";
import { loadConfig } from "../config/load.ts";
import type { WorkerConfig } from "../config/schema.ts";
import { createLogger, type Logger } from "../telemetry/logger.ts";
import { findPlugins } from "../config/plugins.ts";
import { BUILT_IN_COMPUTE, computeRegistry, computeSchemas, withPackageKey } from "./compute-registry.ts";
import { environment } from "../config/environment.ts";
import type { StartedAhead } from "./dev/ahead.ts";
import {
  exitSoon,
  isSupervised,
  receiveOrders,
  reportReady,
  untilAskedToStop,
  withoutWaiting,
  writeTo,
  type Orders,
  type UntilUp,
} from "./lifetime.ts";
import { loadPlugins, type Plugins } from "./plugins.ts";
import { VERSION } from "./version.ts";

/** The packages that the configuration names, and with them the schema of the whole configuration. */
async function prepare(options: SchemaSources): Promise<ConfigSchemas & { readonly plugins: Plugins }> {
  const plugins = await loadPlugins(findPlugins(options), BUILT_IN_COMPUTE);
  return {
    plugins,
    computeSchemas: computeSchemas(computeRegistry(plugins.compute)),
    workflowSchemas: Object.fromEntries(
      plugins.workflow.map(({ name, configSchema }) => [name, withPackageKey(configSchema)]),
    ),
  };
}

function loggerOf(config: Pick<WorkerConfig, "log">): Logger {
  const { level, format } = config.log;
  const pretty = format === "pretty" || (format === "auto" && process.stderr.isTTY);
  return createLogger({ level, format: pretty ? "pretty" : "json" });
}

async function runServe(options: RunOptions, untilUp: UntilUp): Promise<number> {
  const { plugins, ...schemas } = await prepare(options);
  const { config } = loadConfig({ role: "server", ...schemas, ...options });
  const logger = loggerOf(config);
  const { signal, asked } = untilAskedToStop(logger);
  const { startServer } = await import("./server.ts");
  const server = await startServer(config, logger, signal, plugins, untilUp);
  reportReady({ url: server.url });
  await asked;
  await server.stop();
  exitSoon(0);
  return 0;
}

async function runWorker(options: RunOptions, untilUp: UntilUp): Promise<number> {
  const { plugins, ...schemas } = await prepare(options);
  const { config } = loadConfig({ role: "worker", ...schemas, ...options });
  const logger = loggerOf(config);
  const { signal, asked } = untilAskedToStop(logger);
  const { startWorker } = await import("./worker.ts");
  const worker = await startWorker(config, logger, signal, plugins, untilUp);
  reportReady({ url: worker.engine.status().listenAddress });
  await asked;
  await worker.stop();
  exitSoon(0);
  return 0;
}

async function runMigrate(options: RunOptions): Promise<number> {
  const { plugins: _, ...schemas } = await prepare(options);
  const { config } = loadConfig({ role: "migrate", ...schemas, ...options });
  const { migrateDatabase } = await import("./migrate.ts");
  const report = await migrateDatabase(config);
  const applied = report.applied.length === 0 ? "nothing to do" : `applied ${report.applied.join(", ")}`;
  process.stdout.write(`schema version ${report.schemaVersion}: ${applied}\n`);
  return 0;
}

async function runDev(options: RunOptions, main: string, ahead: StartedAhead): Promise<number> {
  const { plugins: _, ...schemas } = await prepare(options);
  const loaded = loadConfig({ role: "dev", ...schemas, ...options });
  const { runDevelopment } = await import("./dev/dev.ts");
  return runDevelopment(loaded, { options, main, ahead }, loggerOf(loaded.config));
}

/** A supervisor starts its children at once: while database and engine start, their programs are loaded. */
async function loadAhead(command: string | undefined): Promise<Orders> {
  // With what a worker would load only when it is needed: the engine's SDK, and the compute of `landlord dev`.
  const programs =
    command === "worker"
      ? [
          import("./worker.ts"),
          import("../worker/restate/handler.ts"),
          import("../compute/process/provider.ts"),
        ]
      : [import("./server.ts")];
  const [orders] = await Promise.all([receiveOrders(), ...programs]);
  writeTo(orders.logFile);
  return orders;
}

async function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
  const lines = createInterface({ input: stream });
  for await (const line of lines) {
    lines.close();
    return line;
  }
  return "";
}

/**
 * Runs the command that this process was started for, and leaves its exit code.
 *
 * @param main the file that was started
 * @param ahead processes that `landlord dev` takes over
 */
export async function runProgram(main: string, ahead: StartedAhead = {}): Promise<void> {
  const own = process.argv.slice(2);
  const { words, untilUp } = isSupervised()
    ? await loadAhead(own[0])
    : { words: own, untilUp: withoutWaiting };
  // `landlord list | head`: a reader that has seen enough is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(0);
  });
  process.exitCode = await runCli(words, {
    runServe: (options) => runServe(options, untilUp),
    runWorker: (options) => runWorker(options, untilUp),
    runMigrate,
    runDev: (options) => runDev(options, main, ahead),
    examine: async (loaded) => (await import("./doctor.ts")).examine(loaded),
    configSchemas: prepare,
    input: {
      isTerminal: process.stdin.isTTY === true && process.stderr.isTTY === true,
      readLine: () => firstLine(process.stdin),
      readAll: () => text(process.stdin),
    },
    stdout: process.stdout,
    stderr: process.stderr,
    env: environment(),
    isTerminal: process.stderr.isTTY === true,
    version: VERSION,
  });
  // The command is done, whatever its end: a channel to a parent must not keep the process alive.
  process.channel?.unref();
}
