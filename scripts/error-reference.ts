/** docs/errors.md: the catalogue of problem codes as a page. */
import { PROBLEM_CODES, type ProblemCode } from "../packages/landlord/src/contract/problem-codes.ts";
import type { OpenApiDocument } from "./openapi-document.ts";

const HEAD = `# Errors

Every answer of 400 and above is \`application/problem+json\` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)):

\`\`\`json
{
  "type": "urn:landlord:problem:tenant_not_found",
  "title": "Not Found",
  "status": 404,
  "detail": "There is no tenant \\"acme\\".",
  "instance": "/v1/tenants/acme",
  "code": "tenant_not_found",
  "error": "There is no tenant \\"acme\\".",
  "details": [],
  "request_id": "e4b3992d-6655-4820-9b84-309b39486ab1"
}
\`\`\`

Branch on \`code\`: it is stable. \`detail\` is for people. \`details\` has one line for each problem, a JSON pointer in front where it is about
the request. \`error\` is what older clients read. Quote \`request_id\` when you look into the server's log; it is the \`X-Request-ID\` header,
too, and you may send your own. 429 and 503 come with \`Retry-After\`: the request was not carried out, and may be repeated. After a
connection that broke, repeat reads and declarative writes at once, and a create with its \`Idempotency-Key\`.

Which operation answers which code is in the API reference, at \`/v1/docs\` of a running server; [API_COVERAGE.md](../API_COVERAGE.md) shows
where each is tested.
`;

interface Row {
  readonly status: number;
  readonly code: ProblemCode;
}

export function renderErrorReference(document: OpenApiDocument): string {
  const rows: readonly Row[] = (Object.keys(PROBLEM_CODES) as ProblemCode[])
    .flatMap((code) => PROBLEM_CODES[code].statuses.map((status) => ({ status, code })))
    .toSorted((a, b) => a.status - b.status || (a.code < b.code ? -1 : 1));
  const sections = rows.map(({ status, code }) => {
    const { meaning, remedy } = PROBLEM_CODES[code];
    return `### ${status} ${code}\n\n${meaning} ${remedy}\n\n${whereOf(document, status, code)}\n`;
  });
  return `${HEAD}\n## Codes\n\n${sections.join("\n")}`;
}

/** Operations that answer it; many have something in common. */
const FEW = 8;

function whereOf(document: OpenApiDocument, status: number, code: string): string {
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
  const answering = operations.filter(({ responses }) =>
    responses[String(status)]?.["x-problem-codes"]?.includes(code),
  );
  if (answering.length === 0) return "Of no operation in particular.";
  if (answering.length > FEW) return `Of ${answering.length} operations.`;
  return `Of ${answering.map(({ operationId }) => `\`${operationId}\``).join(", ")}.`;
}
