/** Who makes a request, as the routes ask for it. */
import type { FastifyRequest } from "fastify";
import type { Identity } from "../auth/identity.ts";
import type { JsonObject } from "../domain/json.ts";
import type { Principal, Role } from "../domain/principal.ts";
import { formatSelector, matchesSelector } from "../domain/selector.ts";
import type { Actor } from "../store/store.ts";
import type { App } from "./app.ts";
import { HttpError } from "./problem.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Null until the hook of authentication has run. */
    identity: Identity | null;
    /** What the audit log is to say besides; null for nothing. */
    auditDetail: JsonObject | null;
  }
}

export function decorateIdentity(app: App): void {
  app.decorateRequest("identity", null);
  app.decorateRequest("auditDetail", null);
}

/** @throws Error when no hook has set it: a request is never taken for somebody by default */
export function identityOf(request: FastifyRequest): Identity {
  if (request.identity === null) throw new Error(`no identity was established for ${request.id}`);
  return request.identity;
}

export function principalOf(request: FastifyRequest): Principal {
  return identityOf(request).principal;
}

export function actorOf(request: FastifyRequest): Actor {
  return { name: principalOf(request).name, requestId: request.id };
}

/** @throws HttpError 403 `forbidden`, which names the roles that would do */
export function requireRole(request: FastifyRequest, ...roles: readonly Role[]): void {
  const { name, role } = principalOf(request);
  if (roles.includes(role)) return;
  const needed = roles.join(" or ");
  throw new HttpError(
    403,
    "forbidden",
    `This needs the role ${needed}; ${name} has the role ${role}. Use a token with the role ${needed}.`,
  );
}

type Labels = Readonly<Record<string, string>>;

/** What is not visible does not exist: routes answer 404, lists and events leave it out. */
export function isVisible(principal: Principal, labels: Labels): boolean {
  return principal.scope === null || matchesSelector(principal.scope, labels);
}

/** For labels that are about to be written. @throws HttpError 403 `outside_scope` */
export function assertWithinScope(principal: Principal, labels: Labels): void {
  if (principal.scope === null || matchesSelector(principal.scope, labels)) return;
  throw new HttpError(
    403,
    "outside_scope",
    `${principal.name} may write only tenants that match "${formatSelector(principal.scope)}", and these labels do not.`,
  );
}
