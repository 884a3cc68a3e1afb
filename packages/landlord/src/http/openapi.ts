/** The OpenAPI document: its head, and what is mended in the generated body. */
import { STATUS_CODES } from "node:http";
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
      { name: "access", description: "Keys, the caller's identity, the audit log" },
      { name: "system", description: "Health and readiness" },
    ],
  };
}

const PROBLEM_REFERENCE = "#/components/schemas/Problem";

interface Node {
  [key: string]: unknown;
}

/**
 * What the generator does not know: the media types of problems and merge patches, words for each answer, and that a
 * schema which is only ever sent needs no name of its own.
 */
export function finishDocument<Document extends object>(document: Document): Document {
  const copy = structuredClone(document) as Node;
  for (const { method, operation } of operationsOf(copy)) {
    for (const [status, response] of Object.entries((operation["responses"] ?? {}) as Record<string, Node>)) {
      response["description"] = STATUS_CODES[status] ?? "Answer";
      const content = response["content"] as Node | undefined;
      const json = content?.["application/json"] as { schema?: { $ref?: string } } | undefined;
      if (json?.schema?.$ref === PROBLEM_REFERENCE)
        response["content"] = { "application/problem+json": json };
    }
    const body = (operation["requestBody"] as Node | undefined)?.["content"] as Node | undefined;
    if (method === "patch" && body !== undefined)
      body["application/merge-patch+json"] = body["application/json"];
  }
  pruneUnusedSchemas(copy);
  return withPlainNames(copy) as Document;
}

function* operationsOf(document: Node): Iterable<{ readonly method: string; readonly operation: Node }> {
  for (const path of Object.values((document["paths"] ?? {}) as Record<string, Record<string, Node>>)) {
    for (const [method, operation] of Object.entries(path)) yield { method, operation };
  }
}

/** The generator calls what is sent `…Input`, also where nothing of the plain name is left. */
function withPlainNames(document: Node): Node {
  const schemas = ((document["components"] as Node | undefined)?.["schemas"] ?? {}) as Node;
  const renamed = Object.keys(schemas).filter(
    (name) => name.endsWith("Input") && !(name.slice(0, -"Input".length) in schemas),
  );
  let text = JSON.stringify(document);
  for (const name of renamed) {
    const plain = name.slice(0, -"Input".length);
    text = text
      .replaceAll(`"#/components/schemas/${name}"`, `"#/components/schemas/${plain}"`)
      .replace(`"${name}":`, `"${plain}":`);
  }
  return JSON.parse(text) as Node;
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
