/** What `landlord dev` tells its server and its worker: by their environment, their command line, and messages. */
import { resolve as resolvePath } from "node:path";
import type { RunOptions } from "../../cli/context.ts";
import { environment, variableOf } from "../../config/environment.ts";
import { computeBlocks, type Config } from "../../config/schema.ts";

/** What both are told of. */
export interface Shared {
  readonly config: Config;
  readonly dataDir: string;
  readonly apiUrl: string;
  readonly ports: { readonly api: number; readonly worker: number };
  readonly engine: {
    readonly ingressUrl: string;
    readonly adminUrl: string;
    /** With which the engine signs its requests; null for one that is not ours. */
    readonly identityKey: string | null;
  };
  /** Of this folder; null when the user has keys of their own. */
  readonly payloadKey: string | null;
}

type Variables = Readonly<Record<string, string>>;

/** Environment variables of the server. */
export function serverSettings(shared: Shared, databaseUrl: string): Variables {
  return {
    ...sharedSettings(shared),
    ...ownVariables(() => true),
    [variableOf("http.port")]: String(shared.ports.api),
    [variableOf("database.url")]: databaseUrl,
    ...(computeBlocks(shared.config.compute).size === 0 ? { [variableOf("compute.process")]: "{}" } : {}),
  };
}

/** Environment variables of the worker. It is never told of the database, not even by accident of the environment. */
export function workerSettings(shared: Shared): Variables {
  const { apiUrl, engine, ports } = shared;
  return {
    ...sharedSettings(shared),
    ...ownVariables((name) => !name.startsWith(variableOf("database"))),
    [variableOf("worker.api_url")]: apiUrl,
    [variableOf("workflow.restate.worker_listen_port")]: String(ports.worker),
    [variableOf("workflow.restate.worker_identity_keys")]: JSON.stringify(
      engine.identityKey === null ? [] : [engine.identityKey],
    ),
  };
}

function sharedSettings({ config, dataDir, engine, payloadKey }: Shared): Variables {
  return {
    [variableOf("data_dir")]: dataDir,
    [variableOf("workflow.restate.endpoint")]: engine.ingressUrl,
    [variableOf("workflow.restate.admin_endpoint")]: engine.adminUrl,
    [variableOf("log.level")]: config.log.level,
    [variableOf("log.format")]: "json",
    ...(payloadKey === null ? {} : { [variableOf("workflow.encryption_key")]: payloadKey }),
  };
}

/** The user's flags, for the children too; what the supervisor decides itself is told otherwise. */
export function commandLineOf(options: RunOptions, command: string): string[] {
  const decided = new Set(["http.port", "data_dir"]);
  const file = options.configFile === undefined ? [] : ["--config-file", resolvePath(options.configFile)];
  const flags = options.flags
    .filter(({ key }) => !decided.has(key) && !(command === "worker" && key.startsWith("database.")))
    .flatMap(({ key, value }) => ["--set", `${key}=${String(value)}`]);
  return [...file, ...flags];
}

/** The user's own LANDLORD_ variables of which `wanted` is true. */
function ownVariables(wanted: (name: string) => boolean): Variables {
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
