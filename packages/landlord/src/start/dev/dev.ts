/**
 * `landlord dev`: PostgreSQL, Restate, server and worker, each an operating system process of its own, in one
 * supervised tree over one folder. Whatever ends unasked is started again on the same ports; whatever an earlier
 * supervisor left behind is adopted or ended.
 */
import { existsSync } from "node:fs";
import type { RunOptions } from "../../cli/context.ts";
import type { LoadedConfig } from "../../config/load.ts";
import type { Config } from "../../config/schema.ts";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { isPortFree, waitUntil } from "../../os/supervised.ts";
import { startEmbeddedPostgres, type EmbeddedPostgres } from "../../store/embedded/embedded-postgres.ts";
import {
  startEmbeddedRestate,
  type EmbeddedRestate,
  type RestateAddresses,
} from "../../workflow/restate/embedded/embedded-restate.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { stopInPhases, untilAskedToStop, reportReady } from "../lifetime.ts";
import { databaseUrl } from "../database-url.ts";
import { startAhead, type ChildCommand, type StartedAhead } from "./ahead.ts";
import { keepRunning, type ChildOptions, type ManagedChild } from "./child.ts";
import { choosePorts, openDevFolder, type DevFolder } from "./folder.ts";
import { keepServing, type Part } from "./part.ts";
import { payloadKey } from "./payload-key.ts";
import { requestIdentity } from "./request-identity.ts";
import { createAnnouncer, type Announcer } from "./announcer.ts";
import { commandLineOf, serverSettings, workerSettings, type Shared } from "./settings.ts";

const PORT_TIMEOUT_MS = 3_000;

/** How this process was started. */
interface Started {
  readonly options: RunOptions;
  /** The file of the program, for processes of ours. */
  readonly main: string;
  readonly ahead: StartedAhead;
}

export async function runDevelopment(
  loaded: LoadedConfig<Config>,
  from: Started,
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
    const started = startParts(loaded, from, folder, announcer, stops);
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
  from: Started,
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
  // What takes longest goes first: to make a database, otherwise the start of the engine.
  const isNew = !existsSync(folder.file("postgres"));
  const newDatabase = isNew ? startDatabase(config, folder, announcer, stops) : null;
  const identity = await requestIdentity(folder.file("request-identity.pem"));
  const engine = startEngine(loaded, folder, identity.privateKeyFile, announcer, stops);
  const { ingressUrl, adminUrl, isEmbedded } = await engine.addressed;
  const database = newDatabase ?? startDatabase(config, folder, announcer, stops);
  const apiUrl = `http://127.0.0.1:${ports.api}`;
  const shared: Shared = {
    config,
    dataDir: folder.path,
    apiUrl,
    ports,
    engine: { ingressUrl, adminUrl, identityKey: isEmbedded ? identity.publicKey : null },
    payloadKey: hasOwnKey(config) ? null : await payloadKey(folder.file("payload-key")),
  };
  const server = startChild(
    "server",
    "serve",
    database.url.then((url) => serverSettings(shared, url)),
    { from, folder, announcer, stops, ups: { database: database.up, engine: engine.up } },
  );
  const worker = startChild("worker", "worker", Promise.resolve(workerSettings(shared)), {
    from,
    folder,
    announcer,
    stops,
    ups: { engine: engine.up, api: server.ready },
  });
  await Promise.all([
    database.up,
    engine.up,
    announcer.starting("server", server.ready, () => apiUrl),
    announcer.starting("worker", worker.ready, () => "registered with Restate"),
  ]);
  return { apiUrl };
}

/** A key of the user's own is used as it is. */
function hasOwnKey({ workflow }: Config): boolean {
  return workflow.encryption_key !== undefined || workflow.encryption_keys !== undefined;
}

interface DatabasePart {
  /** Known long before it is up. */
  readonly url: Promise<string>;
  readonly up: Promise<unknown>;
}

function startDatabase(config: Config, folder: DevFolder, announcer: Announcer, stops: Stops): DatabasePart {
  if (config.database.url !== undefined || config.database.host !== undefined) {
    announcer.note("PostgreSQL", "as configured");
    return { url: Promise.resolve(databaseUrl(config.database)), up: Promise.resolve() };
  }
  let onAddress: (url: string) => void = () => undefined;
  const addressed = new Promise<string>((resolve) => (onAddress = resolve));
  const part = keepServing(
    (first: EmbeddedPostgres | null) =>
      startEmbeddedPostgres({
        dataDir: folder.file("postgres"),
        // The server was told the first start's port: a later one waits for it rather than take another.
        port: first?.port ?? null,
        logFile: folder.file("logs", "postgres.log"),
        onAddress,
        log: announcer.log("PostgreSQL"),
      }),
    partEvents("PostgreSQL", announcer),
  );
  stops.push({ name: "postgres", run: () => part.stop() });
  return {
    url: forWhoever(Promise.race([addressed, part.first.then(({ url }) => url)])),
    up: forWhoever(announcer.starting("PostgreSQL", part.first, ({ port }) => `127.0.0.1:${port}`)),
  };
}

interface EnginePart {
  /** Known long before it is up. */
  readonly addressed: Promise<RestateAddresses & { readonly isEmbedded: boolean }>;
  readonly up: Promise<unknown>;
}

function startEngine(
  { config, sources }: LoadedConfig<Config>,
  folder: DevFolder,
  requestIdentityKeyFile: string,
  announcer: Announcer,
  stops: Stops,
): EnginePart {
  const { restate } = config.workflow;
  if (sources.get("workflow.restate.endpoint")?.kind !== "default") {
    announcer.note("Restate", restate.endpoint);
    const theirs = { ingressUrl: restate.endpoint, adminUrl: restate.admin_endpoint, isEmbedded: false };
    return { addressed: Promise.resolve(theirs), up: Promise.resolve() };
  }
  let onLaunched: (addresses: RestateAddresses) => void = () => undefined;
  const launched = new Promise<RestateAddresses>((resolve) => (onLaunched = resolve));
  const part = keepServing(
    (first: EmbeddedRestate | null) =>
      startEmbeddedRestate({
        dataDir: folder.file("restate"),
        ports: first?.ports ?? null,
        requestIdentityKeyFile,
        logFile: folder.file("logs", "restate.log"),
        onLaunched,
        log: announcer.log("Restate"),
      }),
    partEvents("Restate", announcer),
  );
  stops.push({ name: "restate", run: () => part.stop() });
  const addressed = Promise.race([launched, part.first]).then(({ ingressUrl, adminUrl }) => ({
    ingressUrl,
    adminUrl,
    isEmbedded: true,
  }));
  return {
    addressed: forWhoever(addressed),
    up: forWhoever(announcer.starting("Restate", part.first, ({ ingressUrl }) => ingressUrl)),
  };
}

/** Whoever waits for it is told how it ended; when another part failed first, nobody comes to wait. */
function forWhoever<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
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
  command: ChildCommand,
  settings: Promise<Readonly<Record<string, string>>>,
  {
    from: { options, main, ahead },
    folder,
    announcer,
    stops,
    ups,
  }: {
    readonly from: Started;
    readonly folder: DevFolder;
    readonly announcer: Announcer;
    readonly stops: Stops;
    readonly ups: ChildOptions["ups"];
  },
): ManagedChild {
  const child = keepRunning({
    name,
    start: () => startAhead(main, command),
    first: ahead[command] ?? null,
    words: [command, ...commandLineOf(options, command)],
    settings,
    ups,
    logFile: folder.file("logs", `${name}.log`),
    onRestart: (reason) => announcer.lost(name, reason),
    onReadyAgain: () => announcer.back(name),
  });
  stops.push({ name, run: () => child.stop() });
  return child;
}
