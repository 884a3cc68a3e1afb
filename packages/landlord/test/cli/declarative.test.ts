import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Plan } from "@landlord/client";
import { describe, expect, it } from "vitest";
import { cliHarness } from "./run-cli.ts";
import { problem, tenant, type StubAnswer, type StubRequest } from "./stub-server.ts";

const cli = cliHarness();
const run: typeof cli.run = (argv, given) => cli.run(argv, given);

function file(name: string, text: string): string {
  mkdirSync(path.dirname(path.join(cli.cwd, name)), { recursive: true });
  writeFileSync(path.join(cli.cwd, name), text);
  return name;
}

function planOf(name: string, changes: Partial<Plan> = {}): Plan {
  return {
    tenant_id: null,
    tenant_name: name,
    hash: `hash-of-${name}`,
    action: "create",
    downtime: false,
    generation: 1,
    fields: [
      { pointer: "/compute_config", to: { command: ["a"] }, action: "create" },
      { pointer: "/name", to: name, action: null },
    ],
    changes: [{ action: "create", resource: "process", fields: [], downtime: false }],
    observed: null,
    desired_config: {},
    ...changes,
  };
}

const changed = (name: string): Plan =>
  planOf(name, {
    tenant_id: tenant().id,
    action: "replace",
    downtime: true,
    generation: 3,
    fields: [{ pointer: "/compute_config/a", from: 1, to: 2, action: "replace" }],
    changes: [{ action: "replace", resource: "process", fields: ["/a"], downtime: true }],
  });

const same = (name: string): Plan =>
  planOf(name, { tenant_id: tenant().id, action: "none", fields: [], changes: [] });

/** Plans for dry runs; everything else is answered with a tenant of the name in the path. */
function answering(
  plans: Readonly<Record<string, Plan>>,
  write?: (request: StubRequest) => StubAnswer | null,
): void {
  cli.server.handler = (request) => {
    const name = decodeURIComponent(request.path.split("/").at(-1) ?? "");
    if (request.query.get("dry_run") === "true") return { status: 200, body: plans[name] ?? planOf(name) };
    return write?.(request) ?? { status: 201, body: tenant({ name, id: tenant().id }) };
  };
}

const writes = (): readonly StubRequest[] =>
  cli.server.requests.filter(({ method, query }) => method !== "GET" && query.get("dry_run") === null);

const document = (name: string): string => `name: ${name}\ncompute_config: {command: [a]}\n`;

describe("documents", () => {
  it("reads files, folders and standard input, and both shapes", async () => {
    answering({});
    file("f/one.yaml", `---\n${document("a")}---\n${document("b")}`);
    file("f/two.json", JSON.stringify({ name: "c", compute_config: {} }));
    file("f/ignored.txt", "no tenant");
    file("f/deep/three.yml", document("d"));
    const kind = `kind: Tenant\nmetadata: {name: e, labels: {x: "1"}}\nspec: {compute_provider: docker, compute_config: {}}\n`;
    const flat = await run(["apply", "-f", "f", "-f", "-", "--yes"], { piped: kind });
    expect(flat.code).toBe(0);
    expect(writes().map(({ path: where }) => where.split("/").at(-1))).toEqual(["a", "b", "c", "e"]);
    expect(writes()[3]?.body).toEqual({ labels: { x: "1" }, compute_provider: "docker", compute_config: {} });
    await run(["apply", "-R", "-f", "f", "--dry-run"]);
    expect(cli.server.requests.at(-1)?.query.get("dry_run")).toBe("true");
    expect(cli.server.requests.some(({ path: where }) => where.endsWith("/d"))).toBe(true);
  });

  it.each([
    ["no name", "compute_config: {}", "f.yaml: name is missing"],
    ["a bad name", "name: A\ncompute_config: {}", 'f.yaml: name "A" must be'],
    ["no configuration", "name: a", "f.yaml: compute_config is missing"],
    ["a typo", "name: a\ncompute_config: {}\nlabel: {}", "did you mean labels?"],
    ["a number as label", "name: a\ncompute_config: {}\nlabels: {x: 1}", "labels.x is 1: put it in quotes"],
    [
      "another kind",
      "kind: Pod\nmetadata: {name: a}\nspec: {compute_config: {}}",
      'kind "Pod" must be Tenant',
    ],
    [
      "a typo in spec",
      "kind: Tenant\nmetadata: {name: a}\nspec: {compute_confg: {}}",
      "did you mean spec.compute_config?",
    ],
    ["a list", "- name: a", "must be an object"],
    ["broken YAML", "name: [", "f.yaml: "],
    [
      "a bomb",
      `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [${"*a,".repeat(20)}]\nc: &c [${"*b,".repeat(20)}]\nd: [${"*c,".repeat(20)}]`,
      "f.yaml: ",
    ],
    [
      "a name twice",
      `${document("a")}---\n${document("a")}`,
      "document 2: tenant a is in f.yaml, document 1 already",
    ],
    ["nothing", "", "there is no tenant in f.yaml"],
  ])("refuses %s and sends nothing", async (_, text, words) => {
    file("f.yaml", text);
    const { code, err } = await run(["apply", "-f", "f.yaml", "--yes"]);
    expect([code, err]).toEqual([2, expect.stringContaining(words) as string]);
    expect(cli.server.requests).toEqual([]);
  });
});

describe("apply", () => {
  it("shows the plan, asks, and writes with it", async () => {
    answering({ a: changed("a"), b: same("b") });
    file("f.yaml", [document("a"), document("b"), document("c")].join("---\n"));
    const no = await run(["apply", "-f", "f.yaml"], { answers: ["no"] });
    expect(no).toMatchObject({ code: 1, err: "Apply these changes? [y/N] error: Nothing was changed.\n" });
    expect(no.out).toBe(
      [
        "~ a: change, generation 3, compute: replace, with downtime",
        "    /compute_config/a  1 → 2  (replace)",
        "    replace process, with downtime",
        "",
        "+ c: create, generation 1, compute: create, without downtime",
        '    /compute_config  {"command":["a"]}',
        "    create process",
        "",
        "1 to create, 1 to change, 1 unchanged",
        "",
      ].join("\n"),
    );
    expect(writes()).toEqual([]);
    expect((await run(["apply", "-f", "f.yaml"], { answers: ["y"] })).code).toBe(0);
    expect(
      writes().map(({ path: where, headers }) => [where, headers["if-plan"], headers["landlord-priority"]]),
    ).toEqual([
      ["/v1/tenants/by-name/a", "hash-of-a", "bulk"],
      ["/v1/tenants/by-name/c", "hash-of-c", "bulk"],
    ]);
  });

  it("does not go on when a plan has gone stale, and says so", async () => {
    answering({}, ({ path: where }) =>
      where.endsWith("/a") ? problem(412, "plan_stale", "The plan is not as it was.") : null,
    );
    file("f.yaml", `${document("a")}---\n${document("b")}`);
    const { code, err } = await run(["apply", "-f", "f.yaml", "--yes"]);
    expect(code).toBe(1);
    expect(err).toContain("b created\n");
    expect(err).toContain(
      "f.yaml, document 1: The plan is not as it was.\n    code: plan_stale, request id: req-1\n",
    );
    expect(err).toContain("run the command again");
  });

  it("prunes what the selector selects and no file names, after all else went well", async () => {
    const pages: Record<string, unknown> = {
      tenants: [
        tenant({ name: "a" }),
        tenant({ name: "old", id: tenant().id }),
        tenant({ name: "gone", intent: "deleted" }),
      ],
      total: 3,
      limit: 500,
      offset: 0,
      next_page_token: null,
    };
    let refuses = true;
    const destroy = planOf("old", { tenant_id: tenant().id, action: "destroy", downtime: true, fields: [] });
    cli.server.handler = (request) => {
      if (request.method === "GET") return { status: 200, body: pages };
      if (request.query.get("dry_run") === "true")
        return { status: 200, body: request.method === "DELETE" ? destroy : changed("a") };
      if (request.method === "PUT" && refuses) return problem(500, "internal", "no");
      return { status: 202, body: tenant() };
    };
    file("f.yaml", document("a"));
    const words = ["apply", "-f", "f.yaml", "--prune", "--selector", "x=1", "--yes"];
    const failed = await run(words);
    expect([failed.code, failed.err]).toEqual([1, expect.stringContaining("old: Not deleted") as string]);
    expect(writes().map(({ method }) => method)).toEqual(["PUT"]);
    refuses = false;
    const { code, out } = await run(words);
    expect(code).toBe(0);
    expect(out).toContain("- old: delete");
    expect(out).toContain("0 to create, 1 to change, 1 to delete, 0 unchanged\n");
    const last = cli.server.requests.at(-1);
    expect([last?.method, last?.path, last?.headers["if-plan"]]).toEqual([
      "DELETE",
      `/v1/tenants/${tenant().id}`,
      "hash-of-old",
    ]);
    expect(cli.server.requests.find(({ method }) => method === "GET")?.query.get("selector")).toBe("x=1");
  });

  it.each([
    [["apply"], "-f FILE"],
    [["apply", "-f", "f.yaml", "--prune"], "--prune needs --selector"],
    [["apply", "-f", "f.yaml", "--prune", "--selector", " "], "--prune needs --selector"],
    [["apply", "-f", "f.yaml", "--selector", "x"], "add --prune"],
    [["apply", "-f", "f.yaml", "--dry-run", "--no-plan"], "leave --no-plan out"],
    [["apply", "-f", "-"], "pass --yes"],
    [["apply", "-f", "none.yaml"], "cannot read none.yaml"],
    [["plan"], "a tenant, or -f FILE"],
    [["plan", "a", "--set", "x=1", "--config", "{}"], "once"],
    [["diff"], "-f FILE"],
  ])("refuses %j", async (argv, words) => {
    file("f.yaml", document("a"));
    const { code, err } = await run(argv);
    expect([code, err]).toEqual([2, expect.stringContaining(words) as string]);
    expect(cli.server.requests).toEqual([]);
  });

  it("asks no worker with --no-plan, and says what to do when none is there", async () => {
    cli.server.handler = ({ method, query }) => {
      if (query.get("dry_run") === "true") return problem(503, "no_worker", "No worker can look.");
      return method === "GET"
        ? problem(404, "not_found", "no")
        : { status: 201, body: tenant({ name: "a" }) };
    };
    file("f.yaml", document("a"));
    const planned = await run(["apply", "-f", "f.yaml", "--yes"]);
    expect([planned.code, planned.err]).toEqual([5, expect.stringContaining("--no-plan") as string]);
    const { code, out } = await run(["apply", "-f", "f.yaml", "--yes", "--no-plan"]);
    expect([code, out]).toEqual([0, "+ a: create, not planned\n\n1 to create, 0 to change, 0 unchanged\n"]);
    expect(writes().at(-1)?.headers["if-plan"]).toBeUndefined();
  });
});

describe("diff", () => {
  it("has 0 for the same, 1 for a difference and more for an error", async () => {
    file("f.yaml", document("a"));
    answering({ a: same("a") });
    expect(await run(["diff", "-f", "f.yaml"])).toEqual({ code: 0, out: "", err: "" });
    answering({ a: changed("a") });
    expect(await run(["diff", "-f", "f.yaml"])).toEqual({
      code: 1,
      out: "--- a\tpresent\n+++ a\tgeneration 3\n@@ /compute_config/a @@\n-1\n+2\n# replace process\n",
      err: "",
    });
    cli.server.handler = () => problem(401, "unauthenticated", "Who is it?");
    const denied = await run(["diff", "-f", "f.yaml"]);
    expect([denied.code, denied.err]).toEqual([
      8,
      expect.stringMatching(/^error: Who is it\?\n {2}code: unauth.*\nhint: .*whoami/) as string,
    ]);
    cli.server.handler = () => problem(400, "invalid", "no");
    expect((await run(["diff", "-f", "f.yaml"])).code).toBe(2);
  });
});

describe("import", () => {
  const template = 'name: ${name}\nlabels: {plan: "${plan}"}\ncompute_config: {size: "${size:json}"}\n';

  it("sends the rows as bulk work, reports each, and tries only what failed again", async () => {
    let refused = "b";
    answering({}, ({ path: where }) =>
      where.endsWith(`/${refused}`) ? problem(409, "tenant_deleting", "It is being deleted.") : null,
    );
    file("t.csv", "name,plan,size\na,pro,1\nb,free,2\n");
    file("t.yaml", template);
    const first = await run(["import", "t.csv", "--template", "t.yaml", "--yes"]);
    expect(first.code).toBe(1);
    expect(first.out).toContain("1 applied, 1 failed, 0 skipped");
    expect(first.err).toContain("t.csv:3: b: It is being deleted.");
    expect(writes()[0]).toMatchObject({
      body: { labels: { plan: "pro" }, compute_config: { size: 1 } },
      headers: { "landlord-priority": "bulk" },
    });
    const report = path.join(cli.cwd, "t.csv.import.ndjson");
    const lines = readFileSync(report, "utf8").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as object)).toEqual([
      expect.objectContaining({ row: 1, name: "a", outcome: "applied", generation: 2 }),
      expect.objectContaining({ row: 2, name: "b", outcome: "failed", code: "tenant_deleting" }),
    ]);
    refused = "";
    // A crash tears the last line.
    writeFileSync(report, '{"name":"x', { flag: "a" });
    const second = await run(["import", "t.csv", "--template", "t.yaml", "--yes"]);
    expect([second.code, second.out]).toEqual([
      0,
      expect.stringContaining("1 applied, 0 failed, 1 skipped") as string,
    ]);
    file("t.csv", "name,plan,size\na,PRO,1\nb,free,2\n");
    const third = await run(["import", "t.csv", "--template", "t.yaml", "--yes"]);
    expect(third.out).toContain("1 applied, 0 failed, 1 skipped");
  });

  it.each([
    [
      "an unknown column",
      "name\na\n",
      "name: ${nam}\ncompute_config: {}",
      't.yaml: there is no column "nam"',
    ],
    [
      "a cell that is no JSON",
      "name,size\na,x\n",
      'name: ${name}\ncompute_config: {s: "${size:json}"}',
      't.csv:2: column size: "x" is no JSON',
    ],
    [
      "a name twice",
      "name\na\na\n",
      "name: ${name}\ncompute_config: {}",
      "t.csv:3: tenant a is in t.csv:2 already",
    ],
    ["a short row", "name,b\na\n", "name: ${name}\ncompute_config: {}", "t.csv:2: 1 cells"],
    ["a column twice", "name,name\na,b\n", "name: ${name}\ncompute_config: {}", "two columns are named"],
    ["a broken quote", 'name\n"a\n', "name: ${name}\ncompute_config: {}", "t.csv: line 2"],
    ["no rows", "name\n", "name: ${name}\ncompute_config: {}", "there is no row"],
    ["a list as template", "name\na\n", "[]", "t.yaml: must be an object"],
    [
      "structure in a cell",
      'name\n"a, labels: {x: y}"\n',
      "name: ${name}\ncompute_config: {}",
      "must be 1 to 255",
    ],
  ])("refuses %s and sends nothing", async (_, csv, text, words) => {
    file("t.csv", csv);
    file("t.yaml", text);
    const { code, err } = await run(["import", "t.csv", "--template", "t.yaml", "--yes"]);
    expect([code, err]).toEqual([2, expect.stringContaining(words) as string]);
    expect(cli.server.requests).toEqual([]);
  });

  it("sends nothing when the server refuses one row", async () => {
    cli.server.handler = ({ path: where }) =>
      where.endsWith("/b")
        ? problem(400, "invalid_compute_config", "It is not valid.", ["/size: too large"])
        : { status: 200, body: planOf("a") };
    file("t.csv", "name,plan,size\na,pro,1\nb,free,2\n");
    file("t.yaml", template);
    const { code, err } = await run(["import", "t.csv", "--template", "t.yaml", "--yes"]);
    expect([code, err]).toEqual([
      2,
      expect.stringContaining("t.csv:3: b: It is not valid.\n    /size: too large") as string,
    ]);
    expect(writes()).toEqual([]);
  });
});
