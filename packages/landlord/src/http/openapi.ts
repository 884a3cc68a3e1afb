/** The OpenAPI document: its head, and what is mended in the generated body. */
import type { SwaggerOptions } from "@fastify/swagger";

type OpenApiInfo = Extract<SwaggerOptions, { openapi?: unknown }>["openapi"];

export function documentInfo(): NonNullable<OpenApiInfo> {
  return {
    openapi: "3.1.0",
    info: {
      title: "Landlord",
      version: "1.0.0",
      description:
        "Tenant control plane: store the desired state of each tenant; Landlord makes it real and keeps it real.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    tags: [
      { name: "tenants", description: "Desired state, and what became of it" },
      { name: "history", description: "What happened; answers after deletion too" },
      { name: "compute", description: "Kinds of compute" },
      { name: "workers", description: "For workers" },
      { name: "system", description: "Health and readiness" },
    ],
  };
}

const PROBLEM_REFERENCE = "#/components/schemas/Problem";

interface Node {
  [key: string]: unknown;
}

/** Drops the unused `…Input` twins of named schemas, and gives problems their media type. */
export function finishDocument<Document extends object>(document: Document): Document {
  const copy = structuredClone(document) as Node;
  for (const response of responsesOf(copy)) {
    const content = response["content"] as Node | undefined;
    const json = content?.["application/json"] as { schema?: { $ref?: string } } | undefined;
    if (json?.schema?.$ref === PROBLEM_REFERENCE) response["content"] = { "application/problem+json": json };
  }
  pruneUnusedSchemas(copy);
  return copy as Document;
}

function* responsesOf(document: Node): Iterable<Node> {
  for (const path of Object.values((document["paths"] ?? {}) as Record<string, Record<string, Node>>)) {
    for (const operation of Object.values(path)) {
      yield* Object.values((operation["responses"] ?? {}) as Record<string, Node>);
    }
  }
}

function pruneUnusedSchemas(document: Node): void {
  const schemas = ((document["components"] as Node | undefined)?.["schemas"] ?? {}) as Node;
  for (;;) {
    const text = JSON.stringify(document);
    const unused = Object.keys(schemas).filter((name) => !text.includes(`"#/components/schemas/${name}"`));
    if (unused.length === 0) return;
    for (const name of unused) delete schemas[name];
  }
}
