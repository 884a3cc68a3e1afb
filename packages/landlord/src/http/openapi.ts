/** The OpenAPI document: its head, and what is mended in the generated body. */
import { STATUS_CODES } from "node:http";
import type { SwaggerOptions } from "@fastify/swagger";
import { PERMISSIONS } from "../auth/permissions.ts";
import { EXAMPLES, TEXT_EXAMPLES } from "../contract/examples.ts";
import { PROBLEM_CODES, PROBLEMS_OF_NO_OPERATION, type ProblemCode } from "../contract/problem-codes.ts";
import type { Problem } from "../contract/system.ts";
import { problemsOf } from "./operation-problems.ts";
import { buildProblem } from "./problem.ts";

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
const PROBLEM_MEDIA_TYPE = "application/problem+json";
const SECURITY_SCHEME = "bearer";

/** Answers in a second form, which routes send without a schema. */
const FURTHER_MEDIA_TYPES: Readonly<Record<string, string>> = { listAudit: "application/x-ndjson" };

/** One word for each parameter that is not plain by itself. */
const PARAMETER_EXAMPLES: Readonly<Record<string, string>> = {
  id: "acme",
  name: "acme",
  operation_id: "1e71c8de-b89c-4b86-b912-c496060f9054",
  execution_id: "010ffd2a-bff8-4af5-956e-ff168ef27710",
  token_id: "518b5732-3964-497b-9fba-cab1e7a0791b",
  provider: "process",
  selector: "env=prod,tier!=free",
  status: "failed,updating",
  name_prefix: "acme-",
  wait: "ready",
  timeout: "60s",
  tail_bytes: "16384",
  "if-match": '"3"',
  "if-plan": "ea472e40f738d943c6dac4ac8f75ba6da821fa3e4bd32d764b6a1e4c8c6af26c",
  "idempotency-key": "signup-4711",
  after: "oldest",
  since: "2026-11-22T00:00:00Z",
};

interface Node {
  [key: string]: unknown;
}

interface Operation extends Node {
  readonly operationId: string;
  readonly parameters?: readonly Node[];
  readonly requestBody?: { readonly content: Record<string, Node> };
  readonly responses: Record<string, Node & { content?: Record<string, Node> }>;
}

/**
 * What the generator does not know: which problems an operation answers, access, examples, the media types of merge
 * patches, words for each answer, and that a schema which is only ever sent needs no name of its own.
 */
export function finishDocument<Document extends object>(document: Document): Document {
  const copy = structuredClone(document) as Node;
  for (const { method, operation } of operationsOf(copy)) {
    describeAccess(operation);
    describeProblems(method, operation);
    for (const [status, response] of Object.entries(operation.responses))
      if (isDeclared(status, response)) response["description"] = STATUS_CODES[status] ?? "Answer";
    const further = FURTHER_MEDIA_TYPES[operation.operationId];
    const answer = operation.responses["200"]?.content;
    if (further !== undefined && answer !== undefined) answer[further] = { schema: { type: "string" } };
    const body = operation.requestBody?.content;
    const json = body?.["application/json"];
    if (method === "patch" && body !== undefined && json !== undefined)
      body["application/merge-patch+json"] = json;
  }
  pruneUnusedSchemas(copy);
  const named = withPlainNames(copy);
  addExamples(named);
  const components = named["components"] as Node;
  components["securitySchemes"] = {
    [SECURITY_SCHEME]: {
      type: "http",
      scheme: "bearer",
      description:
        "A key of `/v1/tokens`, or a JWT of the configured OIDC issuer. Not asked for while `auth.enabled` is false.",
    },
  };
  return { ...named, security: [{ [SECURITY_SCHEME]: [] }] } as Document;
}

/** Not a problem: those are described with their codes. */
function isDeclared(status: string, response: Node & { content?: Record<string, Node> }): boolean {
  return status !== "default" && response.content?.[PROBLEM_MEDIA_TYPE] === undefined;
}

function describeAccess(operation: Operation): void {
  const roles = PERMISSIONS[operation.operationId];
  if (roles === "public") operation["security"] = [];
  else operation["x-roles"] = roles ?? [];
}

/** Throws when a route declares a problem of which operation-problems.ts knows nothing. */
function describeProblems(method: string, operation: Operation): void {
  const { operationId, parameters = [], requestBody, responses } = operation;
  const hasInput = parameters.length > 0 || requestBody !== undefined;
  const known = problemsOf({ operationId, method, hasInput });
  for (const [status, response] of Object.entries(responses)) {
    const schema = response.content?.["application/json"]?.["schema"] as Node | undefined;
    if (schema?.["$ref"] === PROBLEM_REFERENCE && !known.has(Number(status)))
      throw new Error(`${operationId} declares ${status}, and operation-problems.ts has no code for it`);
  }
  for (const [status, codes] of known) responses[status] = problemResponse(STATUS_CODES[status] ?? "", codes);
  responses["default"] = problemResponse("What no operation can help", PROBLEMS_OF_NO_OPERATION);
}

function problemResponse(
  title: string,
  codes: readonly ProblemCode[],
): Node & { content: Record<string, Node> } {
  const examples = Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]));
  return {
    description: `${title}: ${codes.map((code) => `\`${code}\``).join(", ")}`,
    "x-problem-codes": codes,
    content: { [PROBLEM_MEDIA_TYPE]: { schema: { $ref: PROBLEM_REFERENCE }, examples } },
  };
}

/** Those of bodies and answers by the names of their schemas, those of problems by their codes. */
function addExamples(document: Node): void {
  const used = new Set<string>();
  for (const { operation } of operationsOf(document)) {
    for (const parameter of operation.parameters ?? []) {
      const example = PARAMETER_EXAMPLES[String(parameter["name"])];
      if (example !== undefined) parameter["example"] = example;
    }
    const contents = [
      operation.requestBody?.content,
      ...Object.values(operation.responses).map((r) => r.content),
    ];
    for (const [mediaType, content] of contents.flatMap((each) => Object.entries(each ?? {}))) {
      const text = TEXT_EXAMPLES[mediaType];
      if (text !== undefined) content["example"] = text;
      else if (mediaType !== PROBLEM_MEDIA_TYPE) {
        const names = schemaNamesOf(content["schema"] as Node);
        for (const name of names) used.add(name);
        content["examples"] = Object.fromEntries(
          names.map((name) => [name, { $ref: `#/components/examples/${name}` }]),
        );
      }
    }
  }
  const values = [...used].sort().map((name) => [name, { value: EXAMPLES[name] }]);
  const problems = Object.entries(PROBLEM_CODES).map(([code, { statuses, meaning }]) => [
    code,
    { summary: meaning, value: exampleProblem(code as ProblemCode, statuses[0] ?? 500, meaning) },
  ]);
  (document["components"] as Node)["examples"] = Object.fromEntries([...values, ...problems]) as Node;
}

function exampleProblem(code: ProblemCode, status: number, meaning: string): Problem {
  const request = { id: "e4b3992d-6655-4820-9b84-309b39486ab1", url: "/v1/tenants/acme" };
  return buildProblem(request, status, code, meaning);
}

/** The schema's own, or those of which it is any. */
function schemaNamesOf(schema: Node): readonly string[] {
  const parts = [schema, ...((schema["anyOf"] ?? []) as readonly Node[])];
  return parts.flatMap(({ $ref }) => (typeof $ref === "string" ? [$ref.split("/").at(-1) ?? ""] : []));
}

function* operationsOf(document: Node): Iterable<{ readonly method: string; readonly operation: Operation }> {
  for (const path of Object.values((document["paths"] ?? {}) as Record<string, Record<string, Operation>>)) {
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
