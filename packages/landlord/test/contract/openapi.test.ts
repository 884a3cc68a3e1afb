import { beforeAll, describe, expect, it } from "vitest";
import { generateFiles, outdated } from "../../../../scripts/generate.ts";
import {
  openApiDocument,
  type OpenApiDocument,
  type Operation,
} from "../../../../scripts/openapi-document.ts";

let document: OpenApiDocument;
let operations: readonly { readonly name: string; readonly path: string; readonly operation: Operation }[];

beforeAll(async () => {
  document = await openApiDocument();
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, path, operation })),
  );
});

/** Names of the operations that are not as they should be. */
function offenders(isGood: (operation: Operation, path: string) => boolean): readonly string[] {
  return operations.filter(({ operation, path }) => !isGood(operation, path)).map(({ name }) => name);
}

/** Every `$ref` below this value. */
function referencesIn(value: unknown): readonly string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    key === "$ref" && typeof child === "string" ? [child] : referencesIn(child),
  );
}

function resolveReference(reference: string): unknown {
  return reference
    .replace(/^#\//, "")
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce<unknown>(
      (value, part) => (value as Readonly<Record<string, unknown>> | undefined)?.[part],
      document,
    );
}

describe("the document", () => {
  it("is OpenAPI 3.1 with what that version asks for", () => {
    expect(document.openapi).toBe("3.1.0");
    expect(document.info).toMatchObject({ title: "Landlord", version: expect.any(String) as string });
    expect(operations.length).toBeGreaterThan(10);
  });

  it("has only references that lead somewhere, and no schema that nobody refers to", () => {
    const references = referencesIn(document);
    expect(references.filter((reference) => resolveReference(reference) === undefined)).toEqual([]);
    const used = new Set(references);
    const unused = Object.keys(document.components["schemas"] ?? {}).filter(
      (name) => !used.has(`#/components/schemas/${name}`),
    );
    expect(unused).toEqual([]);
  });

  it("holds schemas of JSON Schema 2020-12 only", () => {
    // `nullable` is of OpenAPI 3.0 and means nothing in 3.1.
    expect(JSON.stringify(document)).not.toContain('"nullable"');
    expect(JSON.stringify(document)).not.toContain('"definitions"');
  });
});

describe("every operation", () => {
  it("has a name of its own, a summary and one known tag", () => {
    const tags = new Set(document.tags.map((tag) => tag.name));
    expect(offenders((operation) => /^[a-z][A-Za-z]+$/.test(operation.operationId ?? ""))).toEqual([]);
    expect(offenders((operation) => (operation.summary ?? "") !== "")).toEqual([]);
    expect(offenders(({ tags: own }) => own?.length === 1 && own.every((tag) => tags.has(tag)))).toEqual([]);
    const names = operations.map(({ operation }) => operation.operationId);
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(operations.flatMap(({ operation }) => operation.tags ?? []))).toEqual(tags);
  });

  it("declares each parameter of its path once, as required", () => {
    const isGood = ({ parameters = [] }: Operation, path: string): boolean => {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const declared = parameters.filter((each) => each.in === "path" && each.required === true);
      const unique = new Set(parameters.map((each) => `${each.in} ${each.name}`));
      return (
        unique.size === parameters.length &&
        declared.length === inPath.length &&
        declared.every((each) => inPath.includes(each.name))
      );
    };
    expect(offenders(isGood)).toEqual([]);
    expect(operations.filter(({ path }) => path.includes(":"))).toEqual([]);
  });

  it("describes each response, and every refusal as a problem", () => {
    const isProblem = (response: Operation["responses"][string] | undefined): boolean =>
      response?.content?.["application/problem+json"]?.schema.$ref === "#/components/schemas/Problem";
    const refusals = ({ responses }: Operation) => Object.keys(responses).filter((status) => status >= "400");
    expect(
      offenders(({ responses }) => Object.values(responses).every((each) => each.description !== undefined)),
    ).toEqual([]);
    // The readiness report is the same shape, ready or not.
    const versioned = operations.filter(({ path }) => path.startsWith("/v1/"));
    const bad = versioned.filter(
      ({ operation }) => !refusals(operation).every((status) => isProblem(operation.responses[status])),
    );
    expect(bad.map(({ name }) => name)).toEqual([]);
    expect(
      offenders((operation, path) => !path.includes("{id}") || refusals(operation).includes("400")),
    ).toEqual([]);
    expect(
      offenders((operation) => operation.requestBody === undefined || refusals(operation).includes("413")),
    ).toEqual([]);
  });
});

describe("generated files", () => {
  it("are up to date", async () => {
    const files = await generateFiles();
    expect(files.map(({ path }) => path)).toEqual([
      "docs/process-compute.md",
      "docs/docker-compute.md",
      "docs/ecs-compute.md",
      "docs/mock-compute.md",
      "openapi/openapi.json",
      "packages/client/src/schema.ts",
      "docs/configuration.md",
      "docs/errors.md",
    ]);
    expect(outdated(files)).toEqual([]);
  });
});
