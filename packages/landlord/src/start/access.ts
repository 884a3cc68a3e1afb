/** Who may use the API: authenticator, audit log and limits, from the configuration. */
import { readFile } from "node:fs/promises";
import { createAuthenticator, type Authenticator } from "../auth/authenticator.ts";
import { createKeyVerifier, type Key } from "../auth/key-verifier.ts";
import { createOidcVerifier, type OidcVerifier } from "../auth/oidc.ts";
import type { Config } from "../config/schema.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { createAuditLog, type AuditLog } from "../http/audit-log.ts";
import type { Access } from "../http/authentication.ts";
import type { TlsSettings } from "../http/dependencies.ts";
import type { RateLimit } from "../http/rate-limit.ts";
import type { AccessStore } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";

const REQUESTS_PER_SECOND = 200;
const COLLECT_INTERVAL_MS = 60_000;

export interface RunningAccess {
  readonly access: Access;
  /** Once the store is open. */
  start(): void;
  /** After the last request, before the store closes. */
  stop(): Promise<void>;
}

export function createAccess(config: Config, store: AccessStore, logger: Logger): RunningAccess {
  const audit = createAuditLog(store, logger);
  const nowMs = performance.now.bind(performance);
  const keys = createKeyVerifier({
    keys: store,
    onFirstUse: (key) => audit.record(firstUse(key)),
    logger,
    nowMs,
  });
  const authenticator: Authenticator | null = config.auth.enabled
    ? createAuthenticator({
        adminToken: config.auth.admin_token ?? null,
        keys,
        oidc: oidcVerifier(config, nowMs),
      })
    : null;
  let stopCollecting: () => void = () => undefined;
  return {
    access: { authenticator, store, audit, rateLimit: rateLimitOf(config) },
    start() {
      stopCollecting = collectAudit(config.auth.audit_retention, store, logger);
      if (authenticator !== null) void warnWithoutEntrance(config, store, logger);
    },
    async stop() {
      stopCollecting();
      await keys.stop();
      await audit.stop();
    },
  };
}

function oidcVerifier({ auth }: Config, nowMs: () => number): OidcVerifier | null {
  const { oidc } = auth;
  if (oidc === undefined) return null;
  return createOidcVerifier(
    {
      issuer: oidc.issuer,
      audience: oidc.audience,
      roleClaim: oidc.role_claim,
      roleMapping: oidc.role_mapping,
      scopeClaim: oidc.scope_claim ?? null,
      clockSkewSeconds: Math.ceil(oidc.clock_skew / 1_000),
      jwksCacheMs: oidc.jwks_cache,
      jwksCooldownMs: oidc.jwks_cooldown,
      timeoutMs: oidc.timeout,
    },
    nowMs,
  );
}

/** Programs on this machine are not slowed down unless somebody asks for it. */
function rateLimitOf({ auth, http }: Config): RateLimit | null {
  const { requests_per_second: given, burst } = http.rate_limit;
  const requestsPerSecond = given ?? (auth.enabled || burst !== undefined ? REQUESTS_PER_SECOND : null);
  if (requestsPerSecond === null) return null;
  return { requestsPerSecond, burst: burst ?? Math.max(1, Math.ceil(2 * requestsPerSecond)) };
}

function collectAudit(retentionMs: number, store: AccessStore, logger: Logger): () => void {
  const timer = setInterval(() => {
    store
      .collectAudit({ retentionMs })
      .catch((error: unknown) =>
        logger.debug({ error: messageOf(error) }, "audit log not collected; trying again"),
      );
  }, COLLECT_INTERVAL_MS).unref();
  return () => clearInterval(timer);
}

async function warnWithoutEntrance({ auth }: Config, store: AccessStore, logger: Logger): Promise<void> {
  if (auth.admin_token !== undefined || auth.oidc !== undefined) return;
  const keys = await store.listTokens({ afterName: null, limit: 1 }).catch(() => null);
  if (keys?.length !== 0) return;
  logger.warn(
    {},
    "authentication is on, and there is no key, no auth.admin_token and no auth.oidc: nobody can get in",
  );
}

function firstUse(key: Key): Parameters<AuditLog["record"]>[0] {
  return {
    at: new Date(),
    actor: key.name,
    role: key.role,
    action: "tokenFirstUsed",
    outcome: "allowed",
    status: 200,
    code: null,
    tenant: null,
    requestId: "",
    remoteAddress: null,
    detail: { token: key.name, token_id: key.id },
  };
}

/** @throws LandlordError `tls_files_unreadable` */
export async function readTls({ http }: Config): Promise<TlsSettings | null> {
  const { tls } = http;
  if (tls === undefined) return null;
  const read = async (key: string, file: string): Promise<string> => {
    try {
      return await readFile(file, "utf8");
    } catch (error) {
      throw new LandlordError("tls_files_unreadable", `http.tls.${key} cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
  };
  const [cert, key, clientCa] = await Promise.all([
    read("cert_file", tls.cert_file),
    read("key_file", tls.key_file),
    tls.client_ca_file === undefined ? null : read("client_ca_file", tls.client_ca_file),
  ]);
  return { cert, key, clientCa };
}
