/** How routes check what comes in and write what goes out: by their zod schemas, past which most requests can go. */
import type { FastifySchemaCompiler } from "fastify";
import { serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import type { FastifySerializerCompiler } from "fastify/types/schema.js";
import { tenantListSchema, tenantSchema } from "../contract/tenant.ts";

type ZodSchema = Parameters<typeof validatorCompiler>[0]["schema"];
type AnswerSchema = Parameters<typeof serializerCompiler>[0]["schema"];

/** What is read most, and made key by key in render.ts: there is nothing to check or to leave out. */
const RENDERED: ReadonlySet<unknown> = new Set([tenantSchema, tenantListSchema]);

export const answerCompiler: FastifySerializerCompiler<AnswerSchema> = (route) =>
  RENDERED.has(route.schema) ? (answer) => JSON.stringify(answer) : serializerCompiler(route);

export const requestCompiler: FastifySchemaCompiler<ZodSchema> = (route) => {
  const validate = validatorCompiler(route);
  if (route.httpPart !== "querystring") return validate;
  // Most requests have no query, and a schema says the same of it every time.
  const none: unknown = validate({});
  if (typeof none !== "object" || none === null || "error" in none) return validate;
  return (query: object) => (Object.keys(query).length === 0 ? none : validate(query));
};
