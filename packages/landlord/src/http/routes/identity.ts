/** /v1/identity: who am I. */
import { identitySchema } from "../../contract/access.ts";
import { formatSelector } from "../../domain/selector.ts";
import type { App } from "../app.ts";
import { identityOf } from "../principal.ts";
import { problems } from "../responses.ts";

export function registerIdentityRoutes(app: App): void {
  app.get(
    "/v1/identity",
    {
      schema: {
        operationId: "getIdentity",
        tags: ["access"],
        summary: "Who makes this request, and what that one may do",
        response: { 200: identitySchema, ...problems(401, 403, 429, 503) },
      },
    },
    (request) => {
      const { principal, method, expiresAt } = identityOf(request);
      return Promise.resolve({
        name: principal.name,
        role: principal.role,
        scope: principal.scope === null ? null : formatSelector(principal.scope),
        authenticated_by: method,
        expires_at: expiresAt?.toISOString() ?? null,
      });
    },
  );
}
