import { spawnSync } from "node:child_process";
import type { AuditEntry, Tenant, Token } from "@landlord/client";
import { describe, expect, it } from "vitest";
import { buildCli } from "../../src/cli/app.ts";
import { commandTree } from "../../src/cli/completion.ts";
import { cliHarness } from "./run-cli.ts";
import { problem, tenant } from "./stub-server.ts";

const cli = cliHarness();
const run: typeof cli.run = (argv, given) => cli.run(argv, given);

const idOf = (index: number): string => `00000000-0000-4000-8000-00000000000${index}`;
const fleet = (...names: string[]): Tenant[] => names.map((name, index) => tenant({ name, id: idOf(index) }));

function listing(tenants: readonly Tenant[], write: (name: string) => number = () => 202): void {
  cli.server.handler = ({ method, path: where }) => {
    if (where === "/v1/tenants")
      return {
        status: 200,
        body: { tenants, total: tenants.length, limit: 500, offset: 0, next_page_token: null },
      };
    const found = tenants.find(({ id, name }) => where.includes(`/${id}`) || where.includes(`/${name}`));
    if (found === undefined) return problem(404, "not_found", "There is no such tenant.");
    const status = method === "GET" ? 200 : write(found.name);
    return status < 400 ? { status, body: found } : problem(status, "conflict", `Not ${found.name}.`);
  };
}

const writes = () =>
  cli.server.requests
    .filter(({ method }) => method !== "GET")
    .map(({ method, path: where }) => `${method} ${where}`);

describe("verbs on several tenants", () => {
  it("shows how many a selector selects, and asks", async () => {
    listing(fleet("a", "b", "c"));
    const no = await run(["archive", "--selector", "plan=trial"], { answers: [""] });
    expect([no.code, no.err]).toEqual([
      1,
      "3 tenants with plan=trial: a, b, c\nArchive 3 tenants? [y/N] error: Nothing was changed.\n",
    ]);
    expect((await run(["archive", "--selector", "plan=trial"])).code).toBe(2);
    expect(writes()).toEqual([]);
    const yes = await run(["archive", "--selector", "plan=trial"], { answers: ["yes"] });
    expect(yes.code).toBe(0);
    expect(writes().sort()).toEqual([0, 1, 2].map((index) => `POST /v1/tenants/${idOf(index)}/archive`));
    expect(cli.server.requests.at(-1)?.headers["landlord-priority"]).toBe("bulk");
    expect(cli.server.requests[0]?.query.get("selector")).toBe("plan=trial");
  });

  it("goes on after a failure, names it, and has its exit code when all failed alike", async () => {
    listing(fleet("a", "b", "c"), (name) => (name === "b" ? 409 : 202));
    const some = await run(["pause", "a", "b", "c", "a"]);
    expect([some.code, some.err]).toEqual([4, expect.stringContaining("b: Not b.\n") as string]);
    expect(writes()).toHaveLength(3);
    listing([]);
    const none = await run(["retry", "x", "y"]);
    expect([none.code, none.err]).toEqual([
      3,
      expect.stringContaining("2 of 2 tenants: retry failed") as string,
    ]);
    const nothing = await run(["retry", "--selector", "x=1", "--yes"]);
    expect([nothing.code, nothing.err]).toEqual([0, "no tenant matches x=1\n"]);
  });

  it.each([
    [["archive"], "name a tenant"],
    [["archive", "a", "--selector", "x=1"], "not both"],
    [["delete", "--selector", " ", "--yes"], "every tenant"],
    [["delete", "a", "b", "--force"], "one tenant"],
    [["wait", "a"], "--for"],
    [["wait", "a", "--for", "gone"], "gone"],
    [["rollback", "a", "--to-generation", "0"], "--to-generation"],
    [["list", "--all", "--limit", "5"], "leave --limit"],
    [["list", "-w", "-o", "yaml"], "--watch prints"],
    [["get", "a", "--selector", "x"], "not both"],
    [["token", "create", "ci"], "--role"],
    [["token", "create", "ci", "--role", "viewer", "--expires", "soon"], "90d"],
    [["audit", "--since", "yesterday"], "--since"],
    [["-o", "jsonpath={.a", "list"], "braces"],
  ])("refuses %j", async (argv, words) => {
    const { code, err } = await run(argv);
    expect([code, err]).toEqual([2, expect.stringContaining(words) as string]);
    expect(writes()).toEqual([]);
  });

  it("forces a delete only for the name, typed again", async () => {
    const left = { scopes: ["here"], resource_ids: { pid: "7" }, execution_id: null };
    cli.server.handler = ({ method }) => ({
      status: 200,
      body:
        method === "GET"
          ? tenant({ observed_resource_ids: { pid: "7" } })
          : { ...tenant(), may_remain: left },
    });
    const wrong = await run(["delete", "acme", "--force"], { answers: ["y"] });
    expect([wrong.code, wrong.err]).toEqual([
      1,
      expect.stringContaining("  pid 7\nType the name acme") as string,
    ]);
    expect(writes()).toEqual([]);
    const right = await run(["delete", "acme", "--force"], { answers: ["acme"] });
    expect([right.code, right.out]).toEqual([0, "acme deleted\nMay be left:\n  scope here\n  pid 7\n"]);
    expect(cli.server.requests.at(-1)?.query.get("force")).toBe("true");
  });

  it("waits for several, and says which did not get there", async () => {
    const [good, late] = fleet("good", "late");
    listing([good, { ...late, status: "provisioning" }] as Tenant[]);
    const both = await run(["wait", "good", "late", "--for", "ready", "--timeout", "300ms"]);
    expect(both.code).toBe(6);
    expect(both.err).toMatch(
      /^good ready\nerror: 1 of 2 tenants are not ready\n {2}late: Tenant late was not ready/,
    );
  });

  it("lists every page with --all, in every format", async () => {
    const pages = [fleet("a", "b"), fleet("c")];
    cli.server.handler = ({ query }) => ({
      status: 200,
      body: {
        tenants: pages[query.get("page_token") === null ? 0 : 1],
        total: 3,
        limit: 500,
        offset: 0,
        next_page_token: query.get("page_token") === null ? "next" : null,
      },
    });
    expect((await run(["ls", "--all", "-o", "name"])).out).toBe("a\nb\nc\n");
    expect(cli.server.requests[0]?.query.get("include_deleted")).toBe("true");
    expect((await run(["list", "--all", "-o", "ndjson"])).out.trim().split("\n")).toHaveLength(3);
    expect((await run(["list", "--all", "-o", "jsonpath={.tenants[*].name}"])).out).toBe("a b c\n");
    expect((await run(["list", "--all", "-o", "wide"])).out).toMatch(/^ID +NAME .* LABELS/);
    const filtered = ["list", "-l", "x=1", "--status", "failed,ready", "--prefix", "p"];
    await run(filtered);
    expect(cli.server.requests.at(-1)?.query.toString()).toBe(
      "limit=50&offset=0&selector=x%3D1&status=failed%2Cready&name_prefix=p",
    );
  });
});

describe("an administrator", () => {
  const token = (id: string, name: string): Token => ({
    id,
    name,
    role: "operator",
    scope: null,
    created_by: "ada",
    created_at: "2030-01-01T00:00:00Z",
    expires_at: null,
    last_used_at: null,
    previous_secret_expires_at: null,
  });

  it("names keys by name, unless two have it", async () => {
    const tokens = [token("1", "ci"), token("2", "twice"), token("3", "twice")];
    cli.server.handler = ({ method }) =>
      method === "GET"
        ? { status: 200, body: { tokens, next_page_token: null } }
        : { status: 200, body: { ...tokens[0], secret: "ll_new" } };
    const rotated = await run(["token", "rotate", "ci", "--grace", "2h"]);
    expect([rotated.code, rotated.out]).toEqual([0, expect.stringMatching(/\nll_new\n$/) as string]);
    expect(cli.server.requests.at(-1)?.path).toBe("/v1/tokens/1/rotate");
    expect(cli.server.requests.at(-1)?.query.get("grace_seconds")).toBe("7200");
    await run(["token", "revoke", "3"]);
    expect(cli.server.requests.at(-1)?.path).toBe("/v1/tokens/3");
    const ambiguous = await run(["token", "revoke", "twice"]);
    expect([ambiguous.code, ambiguous.err]).toEqual([2, expect.stringContaining("2, made 2030") as string]);
    expect((await run(["token", "revoke", "none"])).code).toBe(2);
  });

  it("gives a key an end", async () => {
    cli.server.handler = () => ({ status: 201, body: { ...token("1", "ci"), secret: "ll_x" } });
    await run(["token", "create", "ci", "--role", "viewer", "--scope", "a=b", "--expires", "90d"]);
    const body = cli.server.requests[0]?.body as { expires_at: string };
    expect(body).toMatchObject({ name: "ci", role: "viewer", scope: "a=b" });
    expect(Math.abs(Date.parse(body.expires_at) - Date.now() - 90 * 86_400_000)).toBeLessThan(60_000);
  });

  it("exports the whole audit log line by line", async () => {
    const entry = (id: number) => ({ id, actor: "ada" }) as AuditEntry;
    cli.server.handler = ({ query }) => ({
      status: 200,
      body: {
        entries: [entry(query.has("page_token") ? 1 : 2)],
        next_page_token: query.has("page_token") ? null : "n",
      },
    });
    const all = await run(["audit", "--all", "--since", "2h", "--outcome", "denied", "-o", "ndjson"]);
    expect(all.out).toBe('{"id":2,"actor":"ada"}\n{"id":1,"actor":"ada"}\n');
    const { query } = cli.server.requests[0] ?? {};
    expect(query?.get("outcome")).toBe("denied");
    expect(Math.abs(Date.parse(query?.get("since") ?? "") - Date.now() + 7_200_000)).toBeLessThan(60_000);
  });
});

describe("completion", () => {
  it("knows every command and option in every shell", async () => {
    const tree = commandTree(await buildCli(cli.deps({ out: "", err: "" }, {})));
    expect(tree.map(({ path }) => path)).toEqual(
      expect.arrayContaining(["apply", "ls", "token create", "context use"]),
    );
    for (const shell of ["bash", "zsh", "fish"]) {
      const { code, out } = await run(["completion", shell]);
      expect(code).toBe(0);
      for (const { path, options } of tree) {
        expect(out).toContain(path);
        for (const { flags } of options)
          for (const flag of flags) expect(out).toContain(shell === "fish" ? flag.replace(/^-+/, "") : flag);
      }
    }
  });

  it("is a script that bash takes", async () => {
    const { out } = await run(["completion", "bash"]);
    expect(spawnSync("bash", ["-n"], { input: out, encoding: "utf8" })).toMatchObject({
      status: 0,
      stderr: "",
    });
    const complete = (...words: string[]) =>
      spawnSync(
        "bash",
        [
          "-c",
          `eval "$SCRIPT"; COMP_WORDS=(landlord "$@"); COMP_CWORD=$#; _landlord; echo "\${COMPREPLY[@]}"`,
          "-",
          ...words,
        ],
        { encoding: "utf8", env: { PATH: process.env["PATH"], SCRIPT: out } },
      ).stdout.trim();
    expect(complete("rol")).toBe("rollback");
    expect(complete("-o", "json", "token", "r")).toBe("rotate revoke");
    expect(complete("list", "-o", "j")).toBe("json");
    expect(complete("get", "list", "--sel")).toBe("--selector");
    expect(complete("token", "create", "ci", "--role", "")).toBe("viewer operator admin worker");
  });
});
