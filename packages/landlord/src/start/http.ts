/** The API of a server, from its configuration: what its routes need, where it listens, how it ends. */
import type { AddressInfo } from "node:net";
import { computeBlocks, type Config } from "../config/schema.ts";
import { WORKFLOW_NAME } from "../contract/job.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import type { App } from "../http/app.ts";
import type { AppDependencies, HttpSettings, TlsSettings } from "../http/dependencies.ts";
import { recently } from "../http/recently.ts";
import { engineBreakerKey, isEngineBreaker } from "../reconciler/engine-breaker.ts";
import type { Reconciler } from "../reconciler/reconciler.ts";
import type { ServerStore, Store } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { WorkflowManager } from "../workflow/manager.ts";
import { createComputeQuestions } from "./compute-questions.ts";
import type { ControllerParts } from "./controller.ts";
import { executionLink } from "./execution-link.ts";

const BREAKERS_MAX_AGE_MS = 1_000;
const READINESS_TIMEOUT_MS = 2_000;

/** Everything but what only a running server has. */
export function appDependencies(
  { config, store, manager, catalog, logger }: ControllerParts & { readonly store: ServerStore },
  reconciler: () => Reconciler | null,
): Omit<AppDependencies, "access" | "events" | "onWrite"> {
  return {
    store,
    fleet: store,
    catalog,
    conditions: { operationDeadlineMs: config.controller.operation_deadline },
    idempotencyRetentionMs: config.http.idempotency_retention,
    tombstoneRetentionMs: config.controller.tombstone_retention,
    openBreakers: recently(
      // The row of an engine that was left after a switch says nothing about the others.
      async () =>
        (await store.listBreakers()).filter(
          ({ key }) => !isEngineBreaker(key) || key === engineBreakerKey(config.controller.workflow_provider),
        ),
      BREAKERS_MAX_AGE_MS,
      performance.now.bind(performance),
    ),
    compute: createComputeQuestions(manager.provider(null), store, catalog),
    engine: {
      name: manager.defaultProvider,
      names: manager.providerNames,
      workflowName: WORKFLOW_NAME,
      linkTo: (operation) => executionLink(config, operation),
    },
    readiness: () => readiness(store, manager, config, reconciler),
    logger,
  };
}

export function httpSettings({ auth, http }: Config, tls: TlsSettings | null): HttpSettings {
  return {
    bodyLimitBytes: http.body_limit_bytes,
    maxRequestsInFlight: http.max_requests_in_flight,
    maxConnections: http.max_connections,
    maxWatchers: http.max_watchers,
    eventHeartbeatMs: http.event_heartbeat,
    eventBufferBytes: http.event_buffer_bytes,
    readTimeoutMs: http.read_timeout,
    writeTimeoutMs: http.write_timeout,
    idleTimeoutMs: http.idle_timeout,
    // A web page has no token to send; without authentication it needs none.
    loopbackOnly: !auth.enabled,
    trustedProxies: http.trusted_proxies,
    tls,
  };
}

/** Without authentication whoever reaches the port may run commands; with it, whoever may write tenants. */
export function refuseOpenBind(config: Config, logger: Logger): void {
  const { host, tls } = config.http;
  if (host === "localhost" || host === "::1" || host.startsWith("127.")) return;
  if (!config.auth.enabled) {
    throw new LandlordError(
      "open_bind_refused",
      `http.host is ${host}: without authentication the API listens on loopback only. Set auth.enabled and auth.admin_token (or auth.oidc), or set http.host to 127.0.0.1.`,
    );
  }
  const commands = computeBlocks(config.compute).get("process");
  if (commands !== undefined && commands["allow_beyond_loopback"] !== true) {
    throw new LandlordError(
      "process_beyond_loopback",
      `http.host is ${host}, and compute.process runs any command that a client sends. Set compute.process.allow_beyond_loopback if that is meant, remove compute.process, or set http.host to 127.0.0.1.`,
    );
  }
  if (tls !== undefined) return;
  logger.warn(
    { host },
    "THE API LISTENS BEYOND LOOPBACK WITHOUT TLS: tokens cross the network in the clear unless a proxy in front ends TLS. Set http.tls, or bind to the proxy's side only",
  );
}

async function readiness(
  store: Store,
  manager: WorkflowManager,
  config: Config,
  reconciler: () => Reconciler | null,
): Promise<Readonly<Record<string, string | null>>> {
  const signal = AbortSignal.timeout(READINESS_TIMEOUT_MS);
  const [database, workflow] = await Promise.all([
    problemOf(withTimeout(store.ping(), READINESS_TIMEOUT_MS)),
    problemOf(manager.provider(null).health({ signal })),
  ]);
  const controller = config.controller.enabled ? (reconciler()?.problem() ?? null) : null;
  return { database, controller, workflow };
}

function problemOf(check: Promise<void>): Promise<string | null> {
  return check.then(
    () => null,
    (error: unknown) => messageOf(error),
  );
}

function withTimeout(check: Promise<void>, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    check.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export async function listen(app: App, config: Config): Promise<string> {
  try {
    await app.listen({ host: config.http.host, port: config.http.port });
  } catch (error) {
    throw new LandlordError(
      "listen_failed",
      `The API cannot listen on ${config.http.host}:${config.http.port}: ${messageOf(error)}. Choose another with --port or http.port.`,
      { cause: error },
    );
  }
  const address = app.server.address() as AddressInfo;
  const scheme = config.http.tls === undefined ? "http" : "https";
  return `${scheme}://${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`;
}

export async function closeHttp(app: App, timeoutMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), timeoutMs);
  await app.close();
  clearTimeout(timer);
}
