/**
 * The one hook that decides who may make a request: who is it, how many of them may come, and is the operation open to
 * that role. It fails closed: an operation without a line in PERMISSIONS is open to nobody.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Authenticator } from "../auth/authenticator.ts";
import { NotAdmittedError, UnauthenticatedError } from "../auth/errors.ts";
import { ANONYMOUS_IDENTITY, type Identity } from "../auth/identity.ts";
import { isProblemCode } from "../contract/problem-codes.ts";
import { FLEET_WIDE, PERMISSIONS } from "../auth/permissions.ts";
import { LandlordError } from "../domain/errors.ts";
import type { Role } from "../domain/principal.ts";
import type { AccessStore, AuditEntry } from "../store/store.ts";
import type { App } from "./app.ts";
import type { AuditLog } from "./audit-log.ts";
import { decorateIdentity, identityOf, requireRole } from "./principal.ts";
import { HttpError, PROBLEM_CONTENT_TYPE } from "./problem.ts";
import { createRateLimiter, type RateLimit, type RateLimiter } from "./rate-limit.ts";

export interface Access {
  /** Null: authentication is off, and everybody is ANONYMOUS. */
  readonly authenticator: Authenticator | null;
  readonly store: AccessStore;
  readonly audit: AuditLog;
  /** For each actor at each server; null for none. */
  readonly rateLimit: RateLimit | null;
}

/** The documents of the API: open to everybody, and not part of what they describe. */
const DOCUMENTS = new Set(["/v1/openapi.json", "/v1/swagger.json", "/v1/docs"]);
/** For each remote address at each server: failed authentications beyond this are 429, and leave no trace. */
const FAILURES: RateLimit = { requestsPerSecond: 1, burst: 20 };
/** For each remote address at each server: tokens that were not seen before and have to be looked up. */
const LOOKUPS: RateLimit = { requestsPerSecond: 50, burst: 100 };
const REALM = 'Bearer realm="landlord"';
/** Whom the audit log names where nobody was recognised. */
const UNKNOWN_ACTOR = "unknown";
/** Writes that tell of nothing an operator did. */
const NOT_AUDITED = new Set(["reportProgress", "reportWorker", "removeWorker", "planTenant"]);
const READS = new Set(["GET", "HEAD", "OPTIONS"]);
const TEXT_LIMIT = 256;

export function registerAccess(app: App, access: Access): void {
  const { authenticator, audit } = access;
  const nowMs = performance.now.bind(performance);
  const perActor = access.rateLimit === null ? null : createRateLimiter(access.rateLimit, nowMs);
  const failures = createRateLimiter(FAILURES, nowMs);
  const lookups = createRateLimiter(LOOKUPS, nowMs);
  decorateIdentity(app);

  async function identify(
    request: FastifyRequest,
    reply: FastifyReply,
    using: Authenticator,
  ): Promise<Identity> {
    const { authorization } = request.headers;
    // Whoever was good before is let through: others may share the address.
    if (authorization !== undefined && !using.isKnown(authorization)) {
      const verdict = lookups.take(request.ip);
      if (!verdict.allowed) throw tooMany(reply, verdict.retryAfterSeconds, "tokens that are not known");
    }
    try {
      return await using.authenticate(authorization);
    } catch (error) {
      throw refusal(error, request, reply);
    }
  }

  /** As an answer, with its trace in the audit log. */
  function refusal(error: unknown, request: FastifyRequest, reply: FastifyReply): unknown {
    const status =
      error instanceof UnauthenticatedError ? 401 : error instanceof NotAdmittedError ? 403 : null;
    if (status === null || !(error instanceof LandlordError) || !isProblemCode(error.code)) return error;
    const verdict = failures.take(request.ip);
    if (!verdict.allowed) return tooMany(reply, verdict.retryAfterSeconds, "failed authentications");
    const isMissing = request.headers.authorization === undefined;
    if (status === 401)
      void reply.header("www-authenticate", isMissing ? REALM : `${REALM}, error="invalid_token"`);
    audit.record(entryOf(request, { outcome: "denied", status, code: error.code }));
    return new HttpError(status, error.code, error.message);
  }

  function admit(request: FastifyRequest, reply: FastifyReply, permitted: readonly Role[] | null): void {
    if (perActor !== null) enforceRate(request, reply, perActor);
    if (permitted === null) {
      throw new HttpError(
        403,
        "forbidden",
        "This operation is open to no role: it has no line in PERMISSIONS.",
      );
    }
    requireRole(request, ...permitted);
    refuseScoped(request);
  }

  app.addHook("onRequest", (request, reply, done) => {
    const permitted = permissionOf(request);
    if (authenticator === null) request.identity = ANONYMOUS_IDENTITY;
    if (request.is404 || permitted === "public") return done();
    if (authenticator === null) {
      admit(request, reply, permitted);
      return done();
    }
    identify(request, reply, authenticator)
      .then((identity) => {
        request.identity = identity;
        admit(request, reply, permitted);
      })
      .then(() => done(), done);
  });

  const codes = new WeakMap<FastifyRequest, string>();
  app.addHook("onSend", (request, reply, payload, done) => {
    if (reply.statusCode >= 400 && reply.getHeader("content-type") === PROBLEM_CONTENT_TYPE)
      codes.set(request, (JSON.parse(String(payload)) as { code: string }).code);
    done(null, payload);
  });
  app.addHook("onResponse", (request, reply, done) => {
    recordAnswer(request, reply);
    done();
  });

  function recordAnswer(request: FastifyRequest, reply: FastifyReply): void {
    // Whom nobody recognised has left a trace already, or was turned away before the question.
    if (request.identity === null || request.is404) return;
    const status = reply.statusCode;
    if (status !== 403 && !isAuditedWrite(request)) return;
    const outcome = status === 403 ? "denied" : status < 400 ? "allowed" : "failed";
    const created = reply.getHeader("location");
    audit.record(
      entryOf(request, {
        outcome,
        status,
        code: codes.get(request) ?? null,
        location: typeof created === "string" ? created : null,
      }),
    );
  }
}

function isAuditedWrite(request: FastifyRequest): boolean {
  if (READS.has(request.method) || isDryRun(request)) return false;
  const operation = operationOf(request);
  return operation !== null && !NOT_AUDITED.has(operation);
}

/** A plan stores nothing. Where the query was not valid, it is still text. */
function isDryRun({ query }: FastifyRequest): boolean {
  if (typeof query !== "object" || query === null || !("dry_run" in query)) return false;
  return query.dry_run === true || query.dry_run === "true";
}

function enforceRate(request: FastifyRequest, reply: FastifyReply, limiter: RateLimiter): void {
  const { principal, method } = identityOf(request);
  // What workers send is bounded by what the server gave them to do.
  if (principal.role === "worker") return;
  const verdict = limiter.take(method === "none" ? `address ${request.ip}` : `${method} ${principal.name}`);
  const { burst, requestsPerSecond } = limiter.limit;
  // draft-ietf-httpapi-ratelimit-headers-10
  void reply
    .header("ratelimit-policy", `"actor";q=${burst};w=${Math.ceil(burst / requestsPerSecond)}`)
    .header("ratelimit", `"actor";r=${verdict.remaining};t=${verdict.resetSeconds}`);
  if (!verdict.allowed) throw tooMany(reply, verdict.retryAfterSeconds, "requests");
}

function tooMany(reply: FastifyReply, seconds: number, what: string): HttpError {
  const retryAfter = Math.max(1, seconds);
  void reply.header("retry-after", retryAfter);
  return new HttpError(429, "rate_limited", `Too many ${what}. Try again in ${retryAfter} s.`);
}

function operationOf(request: FastifyRequest): string | null {
  return request.routeOptions.schema?.operationId ?? null;
}

/** Null: no line, so nobody. */
function permissionOf(request: FastifyRequest): readonly Role[] | "public" | null {
  const operation = operationOf(request);
  if (operation === null) return DOCUMENTS.has(request.routeOptions.url ?? "") ? "public" : null;
  return (Object.hasOwn(PERMISSIONS, operation) ? PERMISSIONS[operation] : null) ?? null;
}

function refuseScoped(request: FastifyRequest): void {
  const { principal } = identityOf(request);
  if (principal.scope === null || !FLEET_WIDE.has(operationOf(request) ?? "")) return;
  throw new HttpError(
    403,
    "outside_scope",
    `This concerns all tenants, and ${principal.name} is bound to a part of them. Use a token without scope.`,
  );
}

function entryOf(
  request: FastifyRequest,
  answer: Pick<AuditEntry, "outcome" | "status" | "code"> & { readonly location?: string | null },
): AuditEntry {
  const { identity } = request;
  return {
    at: new Date(),
    actor: storable(identity?.principal.name ?? UNKNOWN_ACTOR),
    role: identity?.principal.role ?? null,
    action: operationOf(request) ?? `${request.method} ${request.routeOptions.url ?? ""}`,
    outcome: answer.outcome,
    status: answer.status,
    code: answer.code,
    tenant: tenantOf(request, answer.location ?? null),
    requestId: request.id,
    remoteAddress: request.ip,
    detail: { ...(identity === null ? {} : { method: identity.method }), ...request.auditDetail },
  };
}

const TENANTS = "/v1/tenants/";

function tenantOf(request: FastifyRequest, location: string | null): string | null {
  if (location?.startsWith(TENANTS) === true) return location.slice(TENANTS.length);
  const { params } = request;
  if (request.routeOptions.url?.startsWith(TENANTS) !== true || typeof params !== "object" || params === null)
    return null;
  const named = "id" in params ? params.id : "name" in params ? params.name : null;
  return typeof named === "string" ? storable(named) : null;
}

/** PostgreSQL keeps neither NUL nor half of a surrogate pair. */
function storable(text: string): string {
  return text.replaceAll(/[\0\p{Surrogate}]/gu, "\u{fffd}").slice(0, TEXT_LIMIT);
}
