/** A worker for Restate: serves jobs over HTTP/2, registers itself, and stays registered. */
import type { Http2Server, ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { nameInScope, QUERY_SERVICE_NAME } from "../../contract/job.ts";
import { restateServiceName, type RestateNaming } from "../../contract/restate-names.ts";
import type { WorkflowWorkerEngine } from "../engine.ts";
import { JOB_VERSIONS, type Job } from "../job-versions.ts";
import type { WorkerContext } from "../worker-context.ts";
import type { createRestateHandler } from "./handler.ts";
import { registerOnce, registerWithRetry, type RegistrationSettings } from "./registration.ts";

export interface RestateWorkerSettings extends RestateNaming {
  /** How long the engine keeps the result of an ended job, and its id taken. */
  readonly resultRetentionMs: number;
  /** The versions of the job that are served, by workflow name; JOB_VERSIONS when not given. */
  readonly jobs?: ReadonlyMap<string, Job>;
  readonly listenHost: string;
  /** 0 for a free port; then `advertisedUrl` must be null. */
  readonly listenPort: number;
  /** Where Restate reaches this worker; null for the listen address. */
  readonly advertisedUrl: string | null;
  readonly adminUrl: string;
  readonly authToken: string | null;
  readonly requestTimeoutMs: number;
  /** Public keys (`publickeyv1_…`); requests not signed by one of them are refused. Empty: not checked. */
  readonly identityKeys: readonly string[];
  readonly failFast: boolean;
  /** How long a stop waits for running jobs; afterwards the engine moves them to another worker. */
  readonly drainTimeoutMs: number;
  /** How often the registration is looked at again; 15 s when not given. */
  readonly registrationCheckMs?: number;
}

const REGISTRATION_RETRY = { initialDelayMs: 200, maxDelayMs: 10_000 };
/** An engine that lost its data forgets its workers; they notice within this time. */
const REGISTRATION_CHECK_MS = 15_000;
const DRAIN_POLL_MS = 50;

export function createRestateWorkerEngine(
  settings: RestateWorkerSettings,
  context: WorkerContext,
): WorkflowWorkerEngine {
  const { logger } = context;
  const sessions = new Set<ServerHttp2Session>();
  const stopped = new AbortController();
  const scopes = new Set<string>();
  let server: Http2Server | null = null;
  let handle: ReturnType<typeof createRestateHandler> | null = null;
  let listenAddress: string | null = null;
  let registeredAt: Date | null = null;
  let lastRegistrationError: string | null = null;
  let registrationCheck: NodeJS.Timeout | null = null;
  let jobsInFlight = 0;

  function registration(): RegistrationSettings {
    if (listenAddress === null)
      throw new LandlordError("worker_not_started", "Start the worker before it registers.");
    return {
      adminUrl: settings.adminUrl,
      authToken: settings.authToken,
      advertisedUrl: settings.advertisedUrl ?? listenAddress,
      sharedServices: servicesIn(null),
      ownServices: [...scopes].flatMap(servicesIn),
      requestTimeoutMs: settings.requestTimeoutMs,
      resultRetentionMs: settings.resultRetentionMs,
    };
  }

  function servicesIn(scope: string | null): string[] {
    return [...(settings.jobs ?? JOB_VERSIONS).keys(), QUERY_SERVICE_NAME].map((name) =>
      restateServiceName(settings, nameInScope(name, scope)),
    );
  }

  /** Loaded here, like HTTP/2: a process that runs no Restate worker needs no SDK. */
  async function buildHandler(): Promise<void> {
    const handlers = await import("./handler.ts");
    const inFlight = { enter: () => (jobsInFlight += 1), leave: () => (jobsInFlight -= 1) };
    handle = handlers.createRestateHandler(settings, context, inFlight, [...scopes]);
  }

  async function checkRegistration(): Promise<void> {
    try {
      const result = await registerOnce(registration(), { takeShared: false });
      if (result === "registered")
        logger.warn({}, "Restate did not send this worker all of its work; registered again");
      registeredAt = new Date();
      lastRegistrationError = null;
    } catch (error) {
      lastRegistrationError = messageOf(error);
      logger.debug({ error: lastRegistrationError }, "registration could not be checked");
    }
  }

  return {
    name: "restate",
    async start() {
      if (server !== null) return;
      await buildHandler();
      const { createServer } = await import("node:http2");
      server = createServer((request, response) => handle?.(request, response));
      server.on("session", (session) => {
        sessions.add(session);
        session.on("close", () => sessions.delete(session));
      });
      listenAddress = await listen(server, settings.listenHost, settings.listenPort);
      logger.info({ listen_address: listenAddress }, "worker listens for Restate");
    },
    async register(signal) {
      const both = AbortSignal.any([signal, stopped.signal]);
      try {
        await registerWithRetry(
          registration(),
          { ...REGISTRATION_RETRY, failFast: settings.failFast },
          logger,
          both,
        );
      } catch (error) {
        lastRegistrationError = messageOf(error);
        throw error;
      }
      if (both.aborted) return;
      registeredAt = new Date();
      lastRegistrationError = null;
      registrationCheck ??= setInterval(
        () => void checkRegistration(),
        settings.registrationCheckMs ?? REGISTRATION_CHECK_MS,
      );
      registrationCheck.unref();
    },
    async serveScopes(added) {
      const before = scopes.size;
      for (const scope of added) scopes.add(scope);
      if (scopes.size === before) return;
      if (handle !== null) await buildHandler();
      if (registeredAt !== null) await checkRegistration();
    },
    async stop() {
      stopped.abort();
      if (registrationCheck !== null) clearInterval(registrationCheck);
      if (server === null) return;
      const closing = server;
      server = null;
      closing.close();
      const deadlineMs = performance.now() + settings.drainTimeoutMs;
      while (jobsInFlight > 0 && performance.now() < deadlineMs) {
        await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
      }
      if (jobsInFlight > 0) {
        logger.warn(
          { jobs_in_flight: jobsInFlight },
          "jobs still run; the engine resumes them at another worker",
        );
      }
      for (const session of sessions) session.destroy();
    },
    status: () => ({ listenAddress, registeredAt, lastRegistrationError, jobsInFlight }),
  };
}

function listen(server: Http2Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: Error) =>
      reject(
        new LandlordError(
          "worker_listen_failed",
          `The worker cannot listen on ${host}:${port}: ${error.message}`,
          {
            cause: error,
          },
        ),
      ),
    );
    server.listen(port, host, () => {
      const address = server.address() as AddressInfo;
      resolve(
        `http://${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`,
      );
    });
  });
}
