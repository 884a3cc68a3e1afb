/**
 * `landlord dev`: PostgreSQL, Restate, server and worker, each an operating system process of its own, in one
 * supervised tree over one folder. Whatever ends unasked is started again on the same ports; whatever an earlier
 * supervisor left behind is adopted or ended.
 */
import { resolve as resolvePath } from "node:path";
import type { RunOptions } from "../../cli/context.ts";
import type { LoadedConfig } from "../../config/load.ts";
import { computeBlocks, type Config } from "../../config/schema.ts";
import { environment, variableOf } from "../../config/environment.ts";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { isPortFree, waitUntil } from "../../os/supervised.ts";
import { startEmbeddedPostgres, type EmbeddedPostgres } from "../../store/embedded/embedded-postgres.ts";
import {
  startEmbeddedRestate,
  type EmbeddedRestate,
} from "../../workflow/restate/embedded/embedded-restate.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { stopInPhases, untilAskedToStop, reportReady, SUPERVISED_VARIABLE } from "../lifetime.ts";
import { databaseUrl } from "../database-url.ts";
import { keepRunning, type ManagedChild } from "./child.ts";
import { choosePorts, openDevFolder, type DevFolder } from "./folder.ts";
import { keepServing, type Part } from "./part.ts";
import { payloadKey } from "./payload-key.ts";
import { requestIdentity } from "./request-identity.ts";
import { createAnnouncer, type Announcer } from "./announcer.ts";

const PORT_TIMEOUT_MS = 3_000;

/** Variables of the user's that a child may need; everything else stays out. */
const PASSED_ON = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS"];
/** What tells the libraries of Docker and AWS where to go and as whom. */
const VENDORS = /^(?:DOCKER|AWS)_/;

export async function runDevelopment(
  loaded: LoadedConfig<Config>,
  options: RunOptions,
  logger: Logger,
): Promise<number> {
  const { config } = loaded;
  const { asked } = untilAskedToStop(logger);
  const announcer = createAnnouncer(process.stderr);
  const folder = await openDevFolder(config.data_dir);
  const stops: { readonly name: string; run(): Promise<void> }[] = [
    { name: "unlock", run: () => folder.unlock() },
  ];
  const stopAll = (): Promise<void> => stopInPhases([...stops].reverse(), logger);
  try {
    const started = startParts(loaded, options, folder, announcer, stops);
    // Asked to stop while starting: what has been started so far is stopped all the same.
    const first = await Promise.race([started, asked]);
    if (typeof first === "string") {
      await started.catch(() => undefined);
    } else {
      announcer.ready(first.apiUrl, folder.path);
      reportReady({ url: first.apiUrl });
      await asked;
    }
    announcer.stopping();
  } catch (error) {
    await stopAll();
    throw error;
  }
  await stopAll();
  announcer.stopped();
  return 0;
}

type Stops = { readonly name: string; run(): Promise<void> }[];

async function startParts(
  loaded: LoadedConfig<Config>,
  options: RunOptions,
  folder: DevFolder,
  announcer: Announcer,
  stops: Stops,
): Promise<{ readonly apiUrl: string }> {
  const { config } = loaded;
  const ports = await choosePorts(folder, config.http.port);
  // A server whose supervisor was killed needs a moment to notice and to end.
  if (!(await waitUntil(() => isPortFree(ports.api), PORT_TIMEOUT_MS))) {
    throw new LandlordError(
      "port_in_use",
      `Port ${ports.api} of 127.0.0.1 is in use. Choose another with --port, or 0 for a free one.`,
    );
  }
  const identity = await requestIdentity(folder.file("request-identity.pem"));
  const database = startDatabase(config, folder, announcer, stops);
  const engine = startEngine(loaded, folder, identity.privateKeyFile, announcer, stops);
  const apiUrl = `http://127.0.0.1:${ports.api}`;
  const shared = engine.then(async (addresses) => ({
    ...sharedSettings(config, folder, addresses),
    ...(await encryption(config, folder)),
  }));
  const serverSettings = Promise.all([shared, database]).then(([settings, { url }]) => ({
    ...settings,
    ...ownVariables(() => true),
    [variableOf("http.port")]: String(ports.api),
    [variableOf("database.url")]: url,
    ...(computeBlocks(config.compute).size === 0 ? { [variableOf("compute.process")]: "{}" } : {}),
  }));
  const workerSettings = Promise.all([shared, engine]).then(([settings, { embedded }]) => ({
    ...settings,
    // A worker is never told of the database, not even by accident of the environment.
    ...ownVariables((name) => !name.startsWith(variableOf("database"))),
    [variableOf("worker.api_url")]: apiUrl,
    [variableOf("workflow.restate.worker_listen_port")]: String(ports.worker),
    [variableOf("workflow.restate.worker_identity_keys")]: JSON.stringify(
      embedded ? [identity.publicKey] : [],
    ),
  }));
  const server = startChild("server", "serve", options, folder, announcer, stops, serverSettings);
  const worker = startChild("worker", "worker", options, folder, announcer, stops, workerSettings);
  await Promise.all([
    database,
    engine,
    announcer.starting("server", server.ready, () => apiUrl),
    announcer.starting("worker", worker.ready, () => "registered with Restate"),
  ]);
  return { apiUrl };
}

async function startDatabase(
  config: Config,
  folder: DevFolder,
  announcer: Announcer,
  stops: Stops,
): Promise<{ readonly url: string }> {
  if (config.database.url !== undefined || config.database.host !== undefined) {
    announcer.note("PostgreSQL", "as configured");
    return { url: databaseUrl(config.database) };
  }
  const part = keepServing(
    (first: EmbeddedPostgres | null) =>
      startEmbeddedPostgres({
        dataDir: folder.file("postgres"),
        // The server was told the first start's port: a later one waits for it rather than take another.
        port: first?.port ?? null,
        logFile: folder.file("logs", "postgres.log"),
        log: announcer.log("PostgreSQL"),
      }),
    partEvents("PostgreSQL", announcer),
  );
  stops.push({ name: "postgres", run: () => part.stop() });
  return announcer.starting("PostgreSQL", part.first, (started) => `127.0.0.1:${started.port}`);
}

interface EngineAddresses {
  readonly ingressUrl: string;
  readonly adminUrl: string;
  readonly embedded: boolean;
}

async function startEngine(
  { config, sources }: LoadedConfig<Config>,
  folder: DevFolder,
  requestIdentityKeyFile: string,
  announcer: Announcer,
  stops: Stops,
): Promise<EngineAddresses> {
  const { restate } = config.workflow;
  if (sources.get("workflow.restate.endpoint")?.kind !== "default") {
    announcer.note("Restate", restate.endpoint);
    return { ingressUrl: restate.endpoint, adminUrl: restate.admin_endpoint, embedded: false };
  }
  const part = keepServing(
    (first: EmbeddedRestate | null) =>
      startEmbeddedRestate({
        dataDir: folder.file("restate"),
        ports: first?.ports ?? null,
        requestIdentityKeyFile,
        logFile: folder.file("logs", "restate.log"),
        log: announcer.log("Restate"),
      }),
    partEvents("Restate", announcer),
  );
  stops.push({ name: "restate", run: () => part.stop() });
  const started = await announcer.starting(
    "Restate",
    part.first,
    (restateServer) => restateServer.ingressUrl,
  );
  return { ingressUrl: started.ingressUrl, adminUrl: started.adminUrl, embedded: true };
}

function partEvents(name: string, announcer: Announcer): Parameters<typeof keepServing<Part>>[1] {
  return {
    onEnded: () => announcer.lost(name, "ended"),
    onBack: () => announcer.back(name),
    onFailed: (error) => announcer.lost(name, messageOf(error)),
  };
}

function startChild(
  name: string,
  command: string,
  options: RunOptions,
  folder: DevFolder,
  announcer: Announcer,
  stops: Stops,
  settings: Promise<Readonly<Record<string, string>>>,
): ManagedChild {
  const child = keepRunning({
    name,
    args: [command, ...commandLineOf(options, command)],
    env: passedOn(),
    settings,
    // The server takes longest to load, and waits for everything else. What a worker is told stays in its environment.
    isAhead: command === "serve",
    logFile: folder.file("logs", `${name}.log`),
    onRestart: (reason) => announcer.lost(name, reason),
    onReadyAgain: () => announcer.back(name),
  });
  stops.push({ name, run: () => child.stop() });
  return child;
}

/** The user's flags, for the children too; what the supervisor decides itself goes by the environment. */
function commandLineOf(options: RunOptions, command: string): string[] {
  const decided = new Set(["http.port", "data_dir"]);
  const file = options.configFile === undefined ? [] : ["--config-file", resolvePath(options.configFile)];
  const flags = options.flags
    .filter(({ key }) => !decided.has(key) && !(command === "worker" && key.startsWith("database.")))
    .flatMap(({ key, value }) => ["--set", `${key}=${String(value)}`]);
  return [...file, ...flags];
}

/** What a process of ours begins with. */
function passedOn(): Record<string, string> {
  const passed = Object.entries(environment()).filter(
    ([name, value]) => value !== undefined && (PASSED_ON.includes(name) || VENDORS.test(name)),
  );
  return { ...(Object.fromEntries(passed) as Record<string, string>), [SUPERVISED_VARIABLE]: "1" };
}

function sharedSettings(config: Config, folder: DevFolder, engine: EngineAddresses): Record<string, string> {
  return {
    [variableOf("data_dir")]: folder.path,
    [variableOf("workflow.restate.endpoint")]: engine.ingressUrl,
    [variableOf("workflow.restate.admin_endpoint")]: engine.adminUrl,
    [variableOf("log.level")]: config.log.level,
    [variableOf("log.format")]: "json",
  };
}

/** A key of the user's own is used as it is. */
async function encryption({ workflow }: Config, folder: DevFolder): Promise<Record<string, string>> {
  if (workflow.encryption_key !== undefined || workflow.encryption_keys !== undefined) return {};
  return { [variableOf("workflow.encryption_key")]: await payloadKey(folder.file("payload-key")) };
}

/** The user's own LANDLORD_ variables of which `wanted` is true. */
function ownVariables(wanted: (name: string) => boolean): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment()).filter(
      (entry): entry is [string, string] =>
        entry[0].startsWith("LANDLORD_") &&
        entry[1] !== undefined &&
        wanted(entry[0]) &&
        !DECIDED.has(entry[0]),
    ),
  );
}

const DECIDED = new Set(
  [
    "data_dir",
    "http.port",
    "workflow.restate.endpoint",
    "workflow.restate.admin_endpoint",
    "log.level",
    "log.format",
  ].map(variableOf),
);
