import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { nodeFinding, SUPPORTED_NODE } from "../../src/cli/doctor-command.ts";
import { skewFinding } from "../../src/cli/skew.ts";
import { diskFinding } from "../../src/start/doctor.ts";
import { readContexts, writeContexts } from "../../src/config/contexts.ts";
import { cliHarness, type Given } from "./run-cli.ts";
import { problem, tenant, type StubAnswer } from "./stub-server.ts";

const cli = cliHarness();
const run: typeof cli.run = (argv, given) => cli.run(argv, given);
const identity = { name: "ada", role: "admin", scope: null, authenticated_by: "key", expires_at: null };

/** Without the variables that the harness sets. */
function bare(env: Readonly<Record<string, string>> = {}): Given {
  return { env: { HOME: cli.cwd, ...env } };
}

/** What needs a key is answered so. */
const everywhere = (answer: StubAnswer): Readonly<Record<string, StubAnswer>> => ({
  "/v1/identity": answer,
  "/v1/workers": answer,
  "/v1/workflow/providers": answer,
});

const contextsFile = () => path.join(cli.cwd, ".config/landlord/contexts.yaml");
const authorization = () => cli.server.requests.at(-1)?.headers["authorization"];

describe("contexts", () => {
  it("keeps what a login tried, for its owner only", async () => {
    cli.server.handler = () => ({ status: 200, body: identity });
    const { code, out } = await run(["login", `${cli.server.url}/v1/`, "--token-stdin", "--name", "prod"], {
      ...bare(),
      piped: "s3cret\n",
    });
    expect([code, out]).toEqual([0, `Logged in at ${cli.server.url} as ada, admin; context prod\n`]);
    expect(cli.server.requests[0]?.path).toBe("/v1/identity");
    expect(authorization()).toBe("Bearer s3cret");
    expect(statSync(contextsFile()).mode & 0o777).toBe(0o600);
    expect(readdirSync(path.dirname(contextsFile()))).toEqual(["contexts.yaml"]);
    expect((await run(["context", "list"], bare())).out).not.toContain("s3cret");
    cli.server.handler = () => problem(401, "unauthenticated", "no");
    expect((await run(["login", cli.server.url, "--token", "bad"], bare())).code).toBe(1);
    expect(readContexts({ HOME: cli.cwd }).contexts).toEqual({
      prod: { server: cli.server.url, token: "s3cret" },
    });
  });

  it("takes a flag before the environment before the context before the default", async () => {
    const env = { HOME: cli.cwd };
    const other = "http://127.0.0.1:1";
    writeContexts(env, {
      current: "one",
      contexts: { one: { server: cli.server.url, token: "t1" }, two: { server: other, token: "t2" } },
    });
    cli.server.handler = () => ({ status: 200, body: tenant() });
    const get = async (given: Given, ...flags: string[]) => {
      const { code } = await run(["get", "acme", ...flags], given);
      return code === 0 ? authorization() : code;
    };
    expect(await get(bare())).toBe("Bearer t1");
    expect(await get(bare({ LANDLORD_API_TOKEN: "te" }))).toBe("Bearer te");
    expect(await get(bare(), "--token", "tf")).toBe("Bearer tf");
    expect(await get(bare({ LANDLORD_API_URL: other }))).toBe(5);
    expect(await get(bare(), "--context", "two")).toBe(5);
    expect(await get(bare({ LANDLORD_API_URL: other, LANDLORD_API_TOKEN: "te" }), "--context", "one")).toBe(
      "Bearer t1",
    );
    // A context's key is never sent to another server than its own.
    expect(await get(bare(), "--server", cli.server.url)).toBe(undefined);
    expect(await get(bare(), "--context", "two", "--server", cli.server.url)).toBe(undefined);
    expect(await get(bare({ LANDLORD_API_URL: cli.server.url }))).toBe(undefined);
    expect(await get(bare(), "--context", "three")).toBe(2);
    expect(await get(bare(), "--server", "http://a", "--api-url", "http://b")).toBe(2);
  });

  it("shows, changes and forgets", async () => {
    const server = "https://landlord.example";
    writeContexts(
      { HOME: cli.cwd },
      { current: "a", contexts: { a: { server, token: "t" }, b: { server } } },
    );
    expect((await run(["context", "show", "-o", "json"], bare())).out).toContain('"context": "a"');
    expect((await run(["context", "use", "b"], bare())).code).toBe(0);
    expect((await run(["context", "list", "-o", "jsonpath={[*].current}"], bare())).out).toBe("false true\n");
    expect((await run(["logout", "--context", "a"], bare())).out).toBe("Forgot the key of a\n");
    expect((await run(["context", "delete", "b"], bare())).code).toBe(0);
    expect(readContexts({ HOME: cli.cwd })).toEqual({ current: null, contexts: { a: { server } } });
    for (const argv of [["context", "use", "x"], ["context", "delete", "x"], ["logout"]])
      expect((await run(argv, bare())).code).toBe(2);
  });

  it.each(["{", "[]", "contexts: {a: {server: nowhere}}", "contexts: {a: {server: 'http://a', tokn: x}}"])(
    "names the file when it holds %s",
    async (text) => {
      writeContexts({ HOME: cli.cwd }, { current: null, contexts: {} });
      writeFileSync(contextsFile(), text);
      const { code, err } = await run(["list"], bare());
      expect([code, err]).toEqual([2, expect.stringContaining(contextsFile()) as string]);
      expect(readFileSync(contextsFile(), "utf8")).toBe(text);
    },
  );
});

describe("doctor", () => {
  /** A healthy API; each test spoils one thing. */
  function healthy(changes: Readonly<Record<string, StubAnswer>> = {}): void {
    const worker = {
      id: "w",
      engine: "restate",
      workflows: [],
      compute_providers: [],
      scopes: [],
      version: "1",
      started_at: "2030-01-01T00:00:00Z",
      registered_at: "2030-01-01T00:00:00Z",
      last_error: null,
      last_seen_at: "2030-01-01T00:00:00Z",
      live: true,
    };
    const answers: Record<string, unknown> = {
      "/health": { status: "ok" },
      "/ready": { status: "ready", checks: { database: "ok" } },
      "/v1/identity": identity,
      "/v1/workflow/providers": {
        providers: [
          { name: "restate", default: true, reachable: true, error: null, unreachable_since: null },
        ],
      },
      "/v1/workers": { workers: [worker] },
    };
    cli.server.handler = ({ path: where }) => changes[where] ?? { status: 200, body: answers[where] };
  }
  const problems = async (given: Given = {}, ...words: string[]) => {
    const { code, out } = await run(["doctor", "-o", "json", ...words], given);
    const { findings } = JSON.parse(out) as {
      findings: { check: string; status: string; mend?: string; message: string }[];
    };
    const found = findings.filter(({ status }) => status !== "ok" && status !== "skipped");
    expect(code).toBe(found.some(({ status }) => status === "problem") ? 1 : 0);
    for (const { mend } of found) expect(mend).toMatch(/\w/);
    return found.map(({ check, status }) => `${check}: ${status}`);
  };

  it("finds nothing where nothing is wrong", async () => {
    healthy();
    expect(await problems()).toEqual([]);
    expect((await run(["doctor"])).out).toMatch(/^✓ Node +ok[^]*\nAll is well\.\n$/);
  });

  it.each([
    ["an unsupported Node", {}, ["Node: problem"], { nodeVersion: "18.20.0" }, []],
    ["a typo in the configuration", {}, ["configuration: problem"], {}, ["--set", "http.prt=1"]],
    [
      "a server that is not ready",
      {
        "/ready": {
          status: 503,
          body: { status: "unavailable", checks: { database: "no" }, error: "no database" },
        },
      },
      ["readiness: problem"],
      {},
      [],
    ],
    [
      "an expired key",
      { ...everywhere(problem(401, "token_expired", "It has expired.")) },
      ["key: problem"],
      {},
      [],
    ],
    [
      "a wrong key",
      { ...everywhere(problem(401, "unauthenticated", "Who?")) },
      ["key: problem"],
      {},
      ["--token", "x"],
    ],
    ["no worker", { "/v1/workers": { status: 200, body: { workers: [] } } }, ["worker: problem"], {}, []],
    ["another program", { "/health": { status: 200, body: {} } }, ["API: problem"], {}, []],
    [
      "a dead engine",
      {
        "/v1/workflow/providers": {
          status: 200,
          body: { providers: [{ name: "restate", reachable: false, error: "refused" }] },
        },
      },
      ["engine: problem"],
      {},
      [],
    ],
  ] as const)("finds %s, and only that", async (_, changes, expected, given, words) => {
    healthy(changes);
    expect(await problems(given, ...words)).toEqual(expected);
  });

  it("tells a fleet without workers from one whose workers are silent", async () => {
    for (const [workers, words] of [
      [[], "no worker has reported"],
      [[{ live: false, registered_at: "2030-01-01T00:00:00Z" }], "every worker has been silent"],
      [
        [{ live: true, registered_at: null, last_error: "no such host" }],
        "registered with its engine: no such host",
      ],
    ] as const) {
      healthy({ "/v1/workers": { status: 200, body: { workers } } });
      const { code, out } = await run(["doctor"]);
      expect([code, out]).toEqual([1, expect.stringContaining(words) as string]);
      expect(out).toContain("\n1 problem, 0 warnings.\n");
    }
  });

  it("finds a clock that is off", async () => {
    healthy();
    for (const [seconds, expected] of [
      [3, []],
      [12, ["clock of the server: warning"]],
      [-90, ["clock of the server: problem"]],
    ] as const) {
      cli.server.date = () => new Date(Date.now() + seconds * 1_000);
      expect(await problems()).toEqual(expected);
    }
  });

  it("finds no server, and contexts that others may read or that are broken", async () => {
    expect(await problems({}, "--server", "http://127.0.0.1:1")).toEqual(["API: problem"]);
    healthy();
    writeContexts({ HOME: cli.cwd }, { current: "a", contexts: { a: { server: cli.server.url } } });
    chmodSync(contextsFile(), 0o644);
    expect(await problems(bare())).toEqual(["contexts: warning"]);
    writeFileSync(contextsFile(), "{");
    expect(await problems(bare())).toEqual(["contexts: problem"]);
  });

  it("knows which Node is supported, as the packages do", () => {
    const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      engines: { node: string };
    };
    expect(manifest.engines.node).toBe(SUPPORTED_NODE);
    const verdicts = [
      "18.20.0",
      "20.18.9",
      "20.19.0",
      "21.9.0",
      "22.11.0",
      "22.12.0",
      "23.5.0",
      "24.0.0",
      "26.1.0",
    ];
    expect(verdicts.map((version) => nodeFinding(version).status)).toEqual([
      "problem",
      "problem",
      "ok",
      "problem",
      "problem",
      "ok",
      "problem",
      "ok",
      "ok",
    ]);
  });

  it("knows when a disk is too full and a clock too far off", () => {
    expect([2e9, 5e8, 5e7].map((free) => diskFinding(free, "/d").status)).toEqual([
      "ok",
      "warning",
      "problem",
    ]);
    expect(skewFinding("c", 40_000).message).toBe("is 40 s ahead of this machine's");
    expect(skewFinding("c", -40_000).message).toBe("is 40 s behind this machine's");
  });
});
