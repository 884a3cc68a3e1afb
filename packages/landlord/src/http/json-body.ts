/** Bodies: parsed, and refused, as queries are, when they hold what JSON and URLs may say and PostgreSQL cannot keep. */
import { pointerSegment } from "../domain/json.ts";
import type { App } from "./app.ts";
import { HttpError } from "./problem.ts";

/** Deeper values would exhaust the stack of whoever walks them, the database included. */
const DEPTH_LIMIT = 100;
const PROBLEMS_LIMIT = 20;
/** Neither `text` nor `jsonb` holds NUL, nor half of a surrogate pair. */
const NOT_TEXT = /[\0\p{Surrogate}]/u;

export function registerJsonBodies(app: App): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser(
    ["application/json", "application/merge-patch+json"],
    { parseAs: "string" },
    (request, body, done) => {
      // Clients that name a content type on every request, also on one without a body, are understood.
      if (body === "" && request.routeOptions.schema?.body === undefined) done(null, undefined);
      else void parse(request, body as string, done);
    },
  );
  app.addHook("preValidation", (request, _reply, done) => {
    if (request.body !== undefined) refuseUnstorable("body", request.body);
    refuseUnstorable("querystring", request.query);
    done();
  });
}

/** @throws {HttpError} 400 `invalid_request` with each value that cannot be kept */
function refuseUnstorable(part: "body" | "querystring", value: unknown): void {
  const details = unstorable(value);
  if (details.length > 0) throw new HttpError(400, "invalid_request", `The ${part} is not valid.`, details);
}

/** One sentence for each value that cannot be kept, with a JSON pointer in front. Without recursion. */
function unstorable(part: unknown): readonly string[] {
  const problems: string[] = [];
  const open: { readonly value: unknown; readonly pointer: string; readonly depth: number }[] = [
    { value: part, pointer: "", depth: 0 },
  ];
  const found = (pointer: string, message: string): void => {
    problems.push(`${pointer === "" ? "/" : pointer}: ${message}`);
  };
  for (let next = open.pop(); next !== undefined && problems.length < PROBLEMS_LIMIT; next = open.pop()) {
    const { value, pointer, depth } = next;
    if (typeof value === "string" && NOT_TEXT.test(value))
      found(pointer, "must be text without NUL and lone surrogates");
    else if (typeof value === "number" && !Number.isFinite(value)) found(pointer, "is too large a number");
    else if (typeof value === "object" && value !== null) {
      if (depth >= DEPTH_LIMIT) {
        found(topOf(pointer), `must be nested at most ${DEPTH_LIMIT} levels deep`);
        continue;
      }
      for (const [key, own] of Object.entries(value)) {
        if (NOT_TEXT.test(key)) found(pointer, "must have keys without NUL and lone surrogates");
        else open.push({ value: own, pointer: `${pointer}${pointerSegment(key)}`, depth: depth + 1 });
      }
    }
  }
  return problems;
}

/** The first segment: the whole pointer to a value that is too deep helps nobody. */
function topOf(pointer: string): string {
  return /^\/[^/]*/.exec(pointer)?.[0] ?? "";
}
