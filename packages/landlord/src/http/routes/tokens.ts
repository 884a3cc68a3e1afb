/** /v1/tokens: the keys of the API. */
import { randomUUID } from "node:crypto";
import {
  createTokenSchema,
  listTokensQuerySchema,
  newTokenSchema,
  rotateTokenQuerySchema,
  tokenListSchema,
  tokenParamsSchema,
  tokenSchema,
  type TokenBody,
} from "../../contract/access.ts";
import { PAGE_SIZE_DEFAULT } from "../../contract/tenant.ts";
import { formatSelector, parseSelector } from "../../domain/selector.ts";
import { hashSecret, newSecret } from "../../auth/secret.ts";
import type { AccessStore, TokenRecord } from "../../store/store.ts";
import type { App } from "../app.ts";
import { openPageToken, sealPageToken } from "../page-token.ts";
import { principalOf } from "../principal.ts";
import { HttpError } from "../problem.ts";
import { problems } from "../responses.ts";

export function registerTokenRoutes(app: App, store: AccessStore): void {
  app.post(
    "/v1/tokens",
    {
      schema: {
        operationId: "createToken",
        tags: ["access"],
        summary: "Create a key",
        description: "Its secret is in the answer, this once: `Authorization: Bearer <secret>`.",
        body: createTokenSchema,
        response: { 201: newTokenSchema, ...problems(400, 401, 403, 409, 413, 415, 429, 503) },
      },
    },
    async (request, reply) => {
      const { name, role, scope, expires_at: expiry } = request.body;
      const expiresAt = expiry === undefined ? null : new Date(expiry);
      if (expiresAt !== null && expiresAt.getTime() <= Date.now()) {
        throw new HttpError(400, "invalid_request", "The body is not valid.", [
          "/expires_at: must be in the future",
        ]);
      }
      const secret = newSecret();
      const token = await store.createToken({
        id: randomUUID(),
        name,
        role,
        scope: scope === undefined ? null : formatSelector(parseSelector(scope)),
        secretHash: hashSecret(secret),
        createdBy: principalOf(request).name,
        expiresAt,
      });
      request.auditDetail = { token: name, token_role: role, token_scope: scope ?? null };
      if (token === null) {
        throw new HttpError(
          409,
          "name_taken",
          `A key named "${name}" exists already: rotate it, revoke it, or choose another name.`,
        );
      }
      request.auditDetail = { ...request.auditDetail, token_id: token.id };
      void reply.header("cache-control", "no-store");
      return reply.status(201).send({ ...renderToken(token), secret });
    },
  );

  app.get(
    "/v1/tokens",
    {
      schema: {
        operationId: "listTokens",
        tags: ["access"],
        summary: "List keys, without their secrets",
        querystring: listTokensQuerySchema,
        response: { 200: tokenListSchema, ...problems(400, 401, 403, 429, 503) },
      },
    },
    async (request) => {
      const { limit = PAGE_SIZE_DEFAULT, page_token: pageToken } = request.query;
      const after = pageToken === undefined ? null : openPageToken(pageToken, {}).after;
      const found = await store.listTokens({ afterName: after, limit: limit + 1 });
      const tokens = found.slice(0, limit);
      const last = found.length > limit ? tokens.at(-1) : undefined;
      return {
        tokens: tokens.map(renderToken),
        next_page_token: last === undefined ? null : sealPageToken({ after: last.name, total: 0 }, {}),
      };
    },
  );
  registerTokenChangeRoutes(app, store);
}

function registerTokenChangeRoutes(app: App, store: AccessStore): void {
  app.post(
    "/v1/tokens/:token_id/rotate",
    {
      schema: {
        operationId: "rotateToken",
        tags: ["access"],
        summary: "Give a key a new secret",
        description: "The present one stays good for a while, so that its users can change over.",
        params: tokenParamsSchema,
        querystring: rotateTokenQuerySchema,
        response: { 200: newTokenSchema, ...problems(400, 401, 403, 404, 429, 503) },
      },
    },
    async (request, reply) => {
      const { token_id: id } = request.params;
      const secret = newSecret();
      const graceMs = request.query.grace_seconds * 1_000;
      const token = await store.rotateToken({ id, secretHash: hashSecret(secret), graceMs });
      if (token === null) throw notFound(id);
      request.auditDetail = { token: token.name, token_id: id, grace_seconds: request.query.grace_seconds };
      void reply.header("cache-control", "no-store");
      return reply.status(200).send({ ...renderToken(token), secret });
    },
  );

  app.delete(
    "/v1/tokens/:token_id",
    {
      schema: {
        operationId: "revokeToken",
        tags: ["access"],
        summary: "Revoke a key",
        description: "Every server refuses it within 5 seconds. Its name is free again.",
        params: tokenParamsSchema,
        response: { 200: tokenSchema, ...problems(400, 401, 403, 404, 429, 503) },
      },
    },
    async (request) => {
      const { token_id: id } = request.params;
      const token = await store.revokeToken({ id });
      if (token === null) throw notFound(id);
      request.auditDetail = { token: token.name, token_id: id };
      return renderToken(token);
    },
  );
}

function notFound(id: string): HttpError {
  return new HttpError(404, "token_not_found", `There is no key ${id}; list them at /v1/tokens.`);
}

function renderToken(token: TokenRecord): TokenBody {
  return {
    id: token.id,
    name: token.name,
    role: token.role,
    scope: token.scope,
    created_by: token.createdBy,
    created_at: token.createdAt.toISOString(),
    expires_at: token.expiresAt?.toISOString() ?? null,
    last_used_at: token.lastUsedAt?.toISOString() ?? null,
    previous_secret_expires_at: token.previousExpiresAt?.toISOString() ?? null,
  };
}
