/** API_COVERAGE.md: each operation with everything that it may answer, and where that was asked of a real server. */
import { DEFAULT_CODES, DOCUMENTED, OPERATIONS, type Documented } from "./documented.ts";

const RARE = "packages/landlord/test/http/rare-problems.test.ts";

/** What nobody can bring about from outside, by the code, or by operation and code; and the test that does it inside. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  write_contention: RARE,
  events_unavailable: RARE,
  "restoreTenant invalid_compute_config": RARE,
  "rollbackTenant invalid_compute_config": RARE,
  internal: RARE,
  request_timeout: RARE,
};

export function elsewhere({ operation, code }: Pick<Documented, "operation" | "code">): string | null {
  if (code === null) return null;
  return ELSEWHERE[`${operation} ${code}`] ?? ELSEWHERE[code] ?? null;
}

/** Each with a code that it has to name. */
export function testsElsewhere(): readonly { readonly file: string; readonly code: string }[] {
  return Object.entries(ELSEWHERE).map(([key, file]) => ({ file, code: key.split(" ").at(-1) ?? "" }));
}

const HEAD = `<!-- Generated: \`UPDATE_COVERAGE=1 npx vitest run --project system acceptance/api.test.ts\`; do not edit. -->

# API coverage

Everything that the [OpenAPI document](openapi/openapi.json) says an operation may answer, and where a test brings it about.
\`acceptance/api.test.ts\` asks started systems over HTTP, from outside: one \`landlord dev\`, and two \`landlord serve\` with an engine, an
issuer and a way to the database that can be made to fail. It is red when something that is documented was not answered, when
something was answered that is not documented, and when this table is out of date. What is marked with ¹ cannot be brought about
from outside; \`${RARE}\` does it inside.
`;

export function renderCoverage(): string {
  const rows = OPERATIONS.map(({ id, method, path }) => {
    const own = DOCUMENTED.filter(({ operation }) => operation === id);
    const answers = own.filter(({ code }) => code === null).map(({ status }) => String(status));
    const problems = own.filter(({ code }) => code !== null);
    const cells = [...new Set(problems.map(({ status }) => status))].map((status) => {
      const codes = problems.filter((each) => each.status === status);
      return `${status} ${codes.map((each) => `\`${each.code}\`${markOf(each)}`).join(" ")}`;
    });
    return `| \`${id}\` | \`${method} ${path}\` | ${answers.join(", ")} | ${cells.join("<br>")} |`;
  });
  const others = DEFAULT_CODES.map((code) => `\`${code}\`${markOf({ operation: "", code })}`);
  const inside = DOCUMENTED.filter((each) => elsewhere(each) !== null).length;
  return `${HEAD}
${OPERATIONS.length} operations, ${DOCUMENTED.length} answers: ${DOCUMENTED.length - inside} from outside, ${inside} inside. Besides, what concerns no operation:
${others.join(", ")}.

| Operation | Request | Answers | Problems |
| --- | --- | --- | --- |
${rows.join("\n")}
`;
}

function markOf(problem: Pick<Documented, "operation" | "code">): string {
  return elsewhere(problem) === null ? "" : "¹";
}
