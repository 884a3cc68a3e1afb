/**
 * Makes a Restate server know this worker. The last registered URI takes all new invocations, and registering changed
 * code over a running deployment breaks its journals; so registration looks first, adds only what is missing, and
 * never removes. Workflow names carry their version, so what is present already has the right shape.
 */
import { connect } from "node:net";
import { request } from "undici";
import { LandlordError, messageOf, UnavailableError } from "../../domain/errors.ts";
import type { Logger } from "../../telemetry/logger.ts";

export interface RegistrationSettings {
  readonly adminUrl: string;
  readonly authToken: string | null;
  /** Where the engine reaches the worker; stable over restarts, shared by replicas. */
  readonly advertisedUrl: string;
  /** Services that any worker may serve. */
  readonly sharedServices: readonly string[];
  /** Services that only this worker, and its replicas behind the same URL, can serve. */
  readonly ownServices: readonly string[];
  readonly requestTimeoutMs: number;
  /** How long results of workflows are to be kept. */
  readonly resultRetentionMs: number;
}

export interface RetrySettings {
  readonly failFast: boolean;
  readonly initialDelayMs: number;
  readonly maxDelayMs: number;
}

export type RegistrationResult = "already_registered" | "registered";

interface ServiceAnswer {
  readonly deployment_id?: string;
  /** Of workflows, like "1d" or "1h 30m". */
  readonly workflow_completion_retention?: string;
}

interface AdminAnswer {
  readonly status: number;
  readonly body: unknown;
}

/**
 * One attempt; at a start it also brings settings that have changed. Workers at other URLs may serve the shared services
 * as well: whoever registered last is sent new jobs. With `takeShared: false` they are left to another worker that is
 * alive, so that two do not take them from each other for ever.
 *
 * @throws UnavailableError when the admin API does not answer, or cannot reach the worker
 */
export async function registerOnce(
  settings: RegistrationSettings,
  options: { readonly takeShared: boolean } = { takeShared: true },
): Promise<RegistrationResult> {
  const wanted = normalizedUri(settings.advertisedUrl);
  const deployments = new Map<string, string>();
  const listed = await admin(settings, "GET", "/deployments");
  for (const deployment of (listed.body as { deployments?: { id: string; uri?: string }[] }).deployments ??
    []) {
    if (deployment.uri !== undefined) deployments.set(deployment.id, normalizedUri(deployment.uri));
  }
  // An engine that knows nobody, as a new one does, need not be asked for each service.
  const isUnknown = deployments.size === 0;
  const look = async (name: string): Promise<{ readonly at: string | null; readonly isOurs: boolean }> => {
    if (isUnknown) return { at: null, isOurs: false };
    const service = await admin(settings, "GET", `/services/${name}`, undefined, [404]);
    if (service.status === 404) return { at: null, isOurs: false };
    const { deployment_id: id = "", workflow_completion_retention: kept } = service.body as ServiceAnswer;
    const at = deployments.get(id) ?? null;
    // Only at a start: replicas that are configured differently would otherwise overrule each other for ever.
    const isKept = !options.takeShared || kept === undefined || isDuration(kept, settings.resultRetentionMs);
    return { at, isOurs: at === wanted && isKept };
  };
  const [own, shared] = await Promise.all([
    Promise.all(settings.ownServices.map(async (name) => (await look(name)).isOurs)),
    Promise.all(
      settings.sharedServices.map(async (name) => {
        const { at, isOurs } = await look(name);
        return isOurs || (!options.takeShared && at !== null && (await isListening(at, settings)));
      }),
    ),
  ]);
  if ([...own, ...shared].every(Boolean)) return "already_registered";
  // A known URI is only discovered again when forced; an unknown one must not be forced over anything.
  const force = [...deployments.values()].includes(wanted);
  await admin(settings, "POST", "/deployments", { uri: settings.advertisedUrl, force });
  return "registered";
}

/** Repeats registerOnce with backoff until it succeeds or `signal` aborts. With failFast the first failure throws. */
export async function registerWithRetry(
  settings: RegistrationSettings,
  retry: RetrySettings,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  let delayMs = retry.initialDelayMs;
  for (let attempt = 1; !signal.aborted; attempt++) {
    try {
      const result = await registerOnce(settings);
      logger.info(
        {
          advertised_url: settings.advertisedUrl,
          services: [...settings.sharedServices, ...settings.ownServices],
          attempt,
        },
        result === "registered"
          ? "worker registered with Restate"
          : "worker was already registered with Restate",
      );
      return;
    } catch (error) {
      if (retry.failFast) {
        throw new LandlordError(
          "registration_failed",
          `The worker could not register with Restate at ${settings.adminUrl}: ${messageOf(error)}`,
          { cause: error },
        );
      }
      logger.warn(
        { admin_url: settings.adminUrl, attempt, retry_in_ms: delayMs, error: messageOf(error) },
        "worker is not registered with Restate yet; retrying",
      );
      await pause(delayMs, signal);
      delayMs = Math.min(delayMs * 2, retry.maxDelayMs);
    }
  }
}

async function admin(
  settings: RegistrationSettings,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
  accept: readonly number[] = [],
): Promise<AdminAnswer> {
  let status: number;
  let text: string;
  try {
    const response = await request(`${settings.adminUrl.replace(/\/+$/, "")}${path}`, {
      method,
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(settings.authToken === null ? {} : { authorization: `Bearer ${settings.authToken}` }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(settings.requestTimeoutMs),
    });
    status = response.statusCode;
    text = await response.body.text();
  } catch (error) {
    throw new UnavailableError(
      "engine_unreachable",
      `Restate's admin API does not answer: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
  if (status >= 300 && !accept.includes(status)) {
    throw new UnavailableError(
      "engine_refused",
      `${method} ${path} answered ${status}: ${text.slice(0, 500)}`,
    );
  }
  return { status, body: text === "" ? null : (JSON.parse(text) as unknown) };
}

/** Somebody accepts connections at the URI. A worker that only we cannot reach is taken for gone, and comes back. */
function isListening(uri: string, settings: RegistrationSettings): Promise<boolean> {
  return new Promise((resolve) => {
    const { hostname, port, protocol } = new URL(uri);
    const socket = connect({
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? (protocol === "https:" ? 443 : 80) : Number(port),
      timeout: settings.requestTimeoutMs,
    });
    const end = (isOpen: boolean): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.on("connect", () => end(true));
    socket.on("timeout", () => end(false));
    socket.on("error", () => end(false));
  });
}

const UNITS_MS: Readonly<Record<string, number>> = {
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
};

/** True as well for what this cannot read: nothing is registered again for that. */
function isDuration(text: string, durationMs: number): boolean {
  if (!/^(?:\d+(?:d|h|ms|m|s)\s*)+$/.test(text)) return true;
  const parts = [...text.matchAll(/(\d+)(d|h|ms|m|s)/g)];
  return (
    parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (UNITS_MS[unit] ?? 0), 0) === durationMs
  );
}

function normalizedUri(uri: string): string {
  return uri.replace(/\/+$/, "");
}

function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal.addEventListener("abort", done, { once: true });
  });
}
