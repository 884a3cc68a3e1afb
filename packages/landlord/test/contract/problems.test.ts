/** Problem codes and examples: what the document says of them is what the code does. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { beforeAll, describe, expect, it } from "vitest";
import { openApiDocument, type OpenApiDocument } from "../../../../scripts/openapi-document.ts";
import { PERMISSIONS } from "../../src/auth/permissions.ts";
import { isProblemCode, PROBLEM_CODES, PROBLEMS_OF_NO_OPERATION } from "../../src/contract/problem-codes.ts";

const SOURCE = join(import.meta.dirname, "../../src");
/** They list codes, and answer none. */
const LISTS = ["contract/problem-codes.ts", "http/operation-problems.ts"];

const sources = readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.startsWith("cli/") && !LISTS.includes(name))
  .map((name) => readFileSync(join(SOURCE, name), "utf8"));

interface Content {
  readonly schema: object;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly $ref: string }>>;
}

let document: OpenApiDocument;
let operations: readonly {
  readonly name: string;
  readonly responses: Readonly<Record<string, { readonly "x-problem-codes"?: readonly string[] }>>;
}[];
let declared: ReadonlySet<string>;

beforeAll(async () => {
  document = await openApiDocument();
  operations = Object.values(document.paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId, responses }) => ({ name: operationId ?? "", responses })),
  );
  declared = new Set(
    operations.flatMap(({ responses }) =>
      Object.values(responses).flatMap((each) => each["x-problem-codes"] ?? []),
    ),
  );
});

describe("the catalogue of problem codes", () => {
  it("has each code that is thrown, with the status it is thrown with", () => {
    const thrown = sources.flatMap((text) =>
      [...text.matchAll(/new HttpError\(\s*(\d{3}),\s*"(\w+)"/g)].map(([, status = "", code = ""]) => ({
        status: Number(status),
        code,
      })),
    );
    expect(thrown.length).toBeGreaterThan(30);
    const wrong = thrown.filter(
      ({ status, code }) => !isProblemCode(code) || !PROBLEM_CODES[code].statuses.includes(status),
    );
    expect(wrong).toEqual([]);
  });

  it("has no code that nothing answers", () => {
    const unused = Object.keys(PROBLEM_CODES).filter(
      (code) => !declared.has(code) || !sources.some((text) => new RegExp(`\\b${code}\\b`).test(text)),
    );
    expect(unused).toEqual([]);
  });

  it("says of each what happened and what to do, in sentences", () => {
    const bad = Object.entries(PROBLEM_CODES).filter(
      ([code, { meaning, remedy }]) =>
        !/^[a-z]+(_[a-z]+)*$/.test(code) || !/^\S.*\.$/.test(meaning) || !/^\S.*\.$/.test(remedy),
    );
    expect(bad).toEqual([]);
  });

  it("gives each code in the document one of its statuses", () => {
    for (const { name, responses } of operations) {
      for (const [status, { "x-problem-codes": codes = [] }] of Object.entries(responses)) {
        if (status === "default") expect(codes, name).toEqual(PROBLEMS_OF_NO_OPERATION);
        else
          for (const code of codes)
            expect(isProblemCode(code) ? PROBLEM_CODES[code].statuses : [], `${name} ${code}`).toContain(
              Number(status),
            );
      }
    }
  });
});

describe("access in the document", () => {
  it("asks for a bearer everywhere but where it is public, and names the roles", () => {
    for (const methods of Object.values(document.paths)) {
      for (const operation of Object.values(methods) as unknown as Record<string, unknown>[]) {
        const allowed = PERMISSIONS[String(operation["operationId"])];
        expect(operation["security"]).toEqual(allowed === "public" ? [] : undefined);
        expect(operation["x-roles"]).toEqual(allowed === "public" ? undefined : allowed);
        expect(Object.keys(operation["responses"] as object).includes("401")).toBe(allowed !== "public");
      }
    }
    expect(document).toMatchObject({ security: [{ bearer: [] }] });
  });
});

describe("examples", () => {
  it("are there for every body and every answer, and are what their schema asks for", () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema({ ...document, $id: "api" });
    const shown = document.components["examples"] as Readonly<Record<string, { readonly value: unknown }>>;
    let count = 0;
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const bodies =
          operation.requestBody === undefined ? [] : [["requestBody", operation.requestBody] as const];
        const answers = Object.entries(operation.responses).map(
          ([status, each]) => [`responses/${status}`, each] as const,
        );
        for (const [place, { content }] of [...bodies, ...answers]) {
          for (const [mediaType, value] of Object.entries((content ?? {}) as Record<string, Content>)) {
            const where = `${method} ${path} ${place} ${mediaType}`;
            const values =
              value.example === undefined
                ? Object.values(value.examples ?? {}).map(
                    ({ $ref }) => shown[$ref.split("/").at(-1) ?? ""]?.value,
                  )
                : [value.example];
            expect(values.length, where).toBeGreaterThan(0);
            const steps = ["paths", path, method, ...place.split("/"), "content", mediaType, "schema"];
            const pointer = steps.map((step) =>
              encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1")),
            );
            const validate = ajv.compile({ $ref: `api#/${pointer.join("/")}` });
            for (const each of values) {
              expect(
                validate(each),
                `${where}: ${ajv.errorsText(validate.errors)} ${JSON.stringify(each)}`,
              ).toBe(true);
              count += 1;
            }
          }
        }
      }
    }
    expect(count).toBeGreaterThan(300);
  });
});
