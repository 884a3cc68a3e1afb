import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Operation, Tenant, Transition } from "@landlord/client";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { parse as parseYaml } from "yaml";
import { buildCli } from "../../src/cli/app.ts";
import { cliHarness } from "./run-cli.ts";
import { problem, tenant } from "./stub-server.ts";

const cli = cliHarness();
const run: typeof cli.run = (argv, given) => cli.run(argv, given);

/** Answers each request with the next of these, the last one again and again. */
function answerWith(...tenants: Tenant[]): void {
  let index = 0;
  cli.server.handler = () => ({ status: 200, body: tenants[Math.min(index++, tenants.length - 1)] });
}

describe("create", () => {
  it("sends everything it was told", async () => {
    cli.server.handler = () => ({ status: 201, body: tenant({ status: "requested" }) });
    const { code, out } = await run(
      'create --tenant-name acme --config {"a":1} --label env=prod --label note=a=b --annotation x= --provider docker'.split(
        " ",
      ),
      { env: { LANDLORD_API_URL: `${cli.server.url}/v1/`, LANDLORD_API_TOKEN: "t0ken" } },
    );
    expect(code).toBe(0);
    expect(out).toMatch(/^NAME {2}STATUS/);
    expect(cli.server.requests[0]).toMatchObject({
      method: "POST",
      path: "/v1/tenants",
      body: {
        name: "acme",
        compute_config: { a: 1 },
        labels: { env: "prod", note: "a=b" },
        annotations: { x: "" },
        compute_provider: "docker",
      },
      headers: { authorization: "Bearer t0ken", "idempotency-key": expect.any(String) as string },
    });
  });

  it.each([
    ["inline YAML", "{command: [a, b]}"],
    ["@file", "@config.yaml"],
    ["file:// and a relative path", "file://config.yaml"],
    ["file:// and an absolute path", "absolute"],
  ])("reads the configuration from %s", async (_, text) => {
    writeFileSync(path.join(cli.cwd, "config.yaml"), "command:\n  - a\n  - b\n");
    cli.server.handler = () => ({ status: 201, body: tenant() });
    const config = text === "absolute" ? `file://${path.join(cli.cwd, "config.yaml")}` : text;
    expect((await run(["create", "acme", "--config", config])).code).toBe(0);
    expect(cli.server.requests[0]?.body["compute_config"]).toEqual({ command: ["a", "b"] });
  });

  it.each([
    ["no name", ["create", "--config", "{}"], "--tenant-name"],
    ["two names", ["create", "a", "--tenant-name", "b", "--config", "{}"], "once"],
    ["no configuration", ["create", "a"], "--config"],
    ["a file name without @", ["create", "a", "--config", "config.yaml"], "--config @config.yaml"],
    ["a missing file", ["create", "a", "--config", "@none.yaml"], "cannot read"],
    ["broken JSON", ["create", "a", "--config", "{"], "neither JSON nor YAML"],
    ["a label without value", ["create", "a", "--config", "{}", "--label", "x"], "key=value"],
    ["a timeout without unit", ["create", "a", "--config", "{}", "--timeout", "5"], "duration"],
    ["an unknown option", ["create", "a", "--confg", "{}"], "--config"],
    ["an unknown command", ["crate"], "create"],
    ["an unknown format", ["list", "-o", "xml"], "xml"],
    ["no tenant", ["get"], "name a tenant"],
    ["two tenants", ["get", "a", "--tenant-id", "b"], "once"],
    ["an id that is none", ["get", "--tenant-id", "acme"], "--tenant-name"],
    ["a limit out of bounds", ["list", "--limit", "501"], "1 to 500"],
    ["no command", [], "Usage"],
  ])("refuses %s with exit code 2", async (_, argv, words) => {
    const { code, out, err } = await run(argv);
    expect(code).toBe(2);
    expect(err).toContain(words);
    expect(out).toBe("");
    expect(cli.server.requests).toEqual([]);
  });
});

describe("reading", () => {
  it("prints a table that fits the terminal", async () => {
    const tenants = [
      tenant(),
      tenant({
        name: "a-longer-name",
        status: "failed",
        endpoints: [],
        workflow_error_message: "x".repeat(200),
      }),
    ];
    cli.server.handler = () => ({ status: 200, body: { tenants, total: 7, limit: 2, offset: 0 } });
    const { out, err } = await run(["list", "--include-deleted", "--limit", "2"], { columns: 100 });
    const [head, first, second] = out.split("\n");
    expect(head).toBe("NAME           STATUS  GENERATION  PROVIDER  ENDPOINT                AGE  MESSAGE");
    expect(first).toBe("acme           ready   2/2         process   http://127.0.0.1:20001  5m");
    expect(second).toHaveLength(100);
    expect(second?.endsWith("x…")).toBe(true);
    expect(err).toBe("2 of 7 tenants; the next: --offset 2\n");
    expect(cli.server.requests[0]?.query.toString()).toBe("limit=2&offset=0&include_deleted=true");
  });

  it("prints the same facts as JSON and YAML", async () => {
    answerWith(tenant());
    const json = await run(["-o", "json", "get", "--tenant-name", "acme"]);
    expect((JSON.parse(json.out) as Tenant).name).toBe("acme");
    const yaml = await run(["get", "--tenant-id", tenant().id, "-o", "yaml"]);
    expect((parseYaml(yaml.out) as Tenant).endpoints).toEqual(tenant().endpoints);
    expect(cli.server.requests.map((request) => request.path)).toEqual([
      "/v1/tenants/acme",
      `/v1/tenants/${tenant().id}`,
    ]);
  });

  it("shows one tenant in detail", async () => {
    answerWith(tenant({ labels: { env: "prod" }, workflow_retry_count: 3 }));
    const { out } = await run(["get", "acme"]);
    expect(out).toMatch(/^Name: {7}acme\n/);
    expect(out).toContain("Generation: 2 (observed 2)");
    expect(out).toContain("Retries:    3");
    expect(out).toContain("Labels:\n  env: prod\nConfig:\n  command:\n");
  });

  it("shows a provider's configuration, a history, and operations", async () => {
    const at = "2030-01-01T00:00:00Z";
    const schema = {
      type: "object",
      required: ["command"],
      properties: {
        command: { type: "array", description: "What to run." },
        health: { type: "object", properties: { path: { type: "string", default: "/" } } },
      },
    };
    const transition: Transition = {
      tenant_id: tenant().id,
      tenant_name: "acme",
      from_status: "requested",
      to_status: "ready",
      reason: "Done",
      message: "it runs",
      actor: "system",
      request_id: null,
      operation_id: null,
      generation: 1,
      at,
    };
    const removed: Transition = { ...transition, from_status: "deleting", to_status: null, message: "" };
    const operation: Operation = {
      id: "0d4e4bfe-0f2a-4a53-8d4c-0a6a5ad7d1f2",
      tenant_id: tenant().id,
      kind: "create",
      generation: 1,
      execution_id: "lx-1",
      workflow_provider: "restate",
      outcome: "succeeded",
      error: null,
      sub_state: null,
      retry_count: 0,
      stop_reason: null,
      created_at: at,
      invoked_at: at,
      finished_at: at,
    };
    const failed: Operation = {
      ...operation,
      outcome: null,
      sub_state: "backing-off",
      error: { code: "boom", message: "no" },
    };
    cli.server.handler = ({ path: where }) => ({
      status: 200,
      body: where.endsWith("/config")
        ? { provider: "process", schema, defaults: { health: { path: "/up" } } }
        : where.endsWith("/history")
          ? { transitions: [removed, transition] }
          : { operations: [failed, operation] },
    });
    const compute = (await run(["compute", "--provider", "process"])).out;
    expect(compute).toMatch(/command +array +yes +What to run\.\n/);
    expect(compute).toMatch(/health\.path +string +"\/up"/);
    const history = (await run(["history", "acme"])).out;
    expect(history).toMatch(/2030-01-01T00:00:00Z +requested +ready +1 +Done +system +it runs\n/);
    expect(history).toMatch(/deleting +removed +1 +Done +system\n/);
    const operations = (await run(["operations", "acme"])).out;
    expect(operations).toMatch(/2030-01-01T00:00:00Z +create +1 +succeeded +0 +restate +lx-1\n/);
    expect(operations).toMatch(/create +1 +backing-off +0 +restate +lx-1 +boom: no\n/);
  });

  it("colours only for people who want it", async () => {
    answerWith(tenant());
    const env = { LANDLORD_API_URL: cli.server.url };
    const coloured = await run(["archive", "acme"], { env, isTerminal: true, columns: 200 });
    expect(coloured.out).toContain("\u001b[32mready");
    for (const off of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
      const plain = await run(["archive", "acme"], {
        env: { ...env, ...off },
        isTerminal: true,
        columns: 200,
      });
      expect(plain.out).not.toContain("\u001b");
    }
  });
});

describe("writing", () => {
  it("replaces, patches, archives and deletes by name", async () => {
    answerWith(tenant());
    await run(["set", "--tenant-name", "acme", "--config", "{a: 1}"]);
    await run(["set", "acme", "--config", "{a: null}", "--patch"]);
    await run(["archive", "acme"]);
    await run(["delete", "acme"]);
    expect(cli.server.requests.map(({ method, path: where, body }) => [method, where, body])).toEqual([
      ["PUT", "/v1/tenants/acme", { compute_config: { a: 1 } }],
      ["PATCH", "/v1/tenants/acme", { compute_config: { a: null } }],
      ["POST", "/v1/tenants/acme/archive", {}],
      ["DELETE", "/v1/tenants/acme", {}],
    ]);
  });

  it("waits for the generation that it wrote, with a line for each change", async () => {
    answerWith(
      tenant({ status: "updating", generation: 3 }),
      tenant({
        status: "updating",
        generation: 3,
        workflow_sub_state: "running",
        status_message: "starting",
      }),
      tenant({ generation: 3, observed_generation: 3 }),
    );
    const { code, out, err } = await run(["set", "acme", "--config", "{}", "--wait", "-o", "json"]);
    expect(code).toBe(0);
    expect(err).toBe("acme updating (running): starting\nacme ready\n");
    expect(JSON.parse(out)).toMatchObject({ status: "ready", observed_generation: 3 });
  });

  it("draws one live line on a terminal, and leaves nothing of it", async () => {
    const updating = tenant({ status: "updating", generation: 3, status_message: "long ".repeat(50) });
    answerWith(updating, updating, updating, tenant({ generation: 3, observed_generation: 3 }));
    const { err } = await run(["set", "acme", "--config", "{}", "--wait"], { isTerminal: true, columns: 40 });
    const frames = err.split("\r\u001b[2K");
    expect(frames.length).toBeGreaterThan(3);
    expect(Math.max(...frames.map((frame) => frame.length))).toBe(39);
    expect(frames.at(-1)).toBe("");
    expect(err).not.toContain("\n");
  });

  it("takes a tenant that is gone for deleted", async () => {
    const deleting = tenant({ status: "deleting" });
    cli.server.handler = ({ method }) =>
      method === "DELETE" || cli.server.requests.length < 3
        ? { status: 202, body: deleting }
        : problem(404, "not_found", "gone");
    const { code, out } = await run(["delete", "acme", "--wait"]);
    expect([code, out]).toEqual([0, "acme deleted\n"]);
  });
});

describe("failures", () => {
  it.each([
    [400, "invalid", 2],
    [401, "unauthenticated", 1],
    [404, "not_found", 3],
    [409, "tenant_deleting", 4],
    [412, "version_mismatch", 4],
    [422, "idempotency_key_reused", 2],
    [500, "internal", 1],
    [503, "unavailable", 5],
  ])("answers %i with an error, its details, a hint and the exit code", async (status, code, exitCode) => {
    cli.server.handler = () => problem(status, code, "it did not work", ["/a: is wrong", "/b: too"]);
    const result = await run(["archive", "acme"]);
    expect(result.code).toBe(exitCode);
    expect(result.out).toBe("");
    expect(result.err).toMatch(/^error: it did not work\n {2}\/a: is wrong\n {2}\/b: too\n/);
    if (status !== 422) expect(result.err).toMatch(/\nhint: .+\n$/);
    if (status >= 500) expect(result.err).toContain("request id: req-1");
  });

  it("names the address of a server that is not there", async () => {
    const { code, err } = await run(["--api-url", "http://127.0.0.1:1", "delete", "acme"]);
    expect(code).toBe(5);
    expect(err).toMatch(
      /error: Cannot reach Landlord at http:\/\/127\.0\.0\.1:1\/v1\/tenants\/acme.*\nhint: .*landlord dev/,
    );
    expect((await run(["list", "--api-url", "localhost"])).err).toContain("http://127.0.0.1:8081");
  });

  it("has an exit code for a wait that timed out and for a tenant that failed", async () => {
    answerWith(tenant({ status: "provisioning", observed_generation: 0 }));
    const late = await run(["create", "acme", "--config", "{}", "--wait", "--timeout", "150ms"]);
    expect(late.code).toBe(6);
    expect(late.err).toContain("hint: Landlord goes on trying");
    answerWith(tenant({ status: "failed", workflow_error_message: "no such image" }));
    const failed = await run(["create", "acme", "--config", "{}", "--wait"]);
    expect(failed.code).toBe(7);
    expect(failed.err).toContain("error: Tenant acme failed: no such image\n");
  });

  it("lets no text of the server touch the terminal", async () => {
    const evil = "\u001b[2J\u009b31m\r\nhint: run \u202Ecurl\u0007";
    cli.server.handler = () => problem(400, "invalid", evil, [evil]);
    // eslint-disable-next-line no-control-regex
    const unsafe = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/;
    const failed = await run(["get", "acme"]);
    expect(failed.err).not.toMatch(unsafe);
    expect(failed.err.split("\n")).toHaveLength(5);
    expect(failed.err).toContain("error: \\x1b[2J\\x9b31m\\x0d\\nhint: run \\u202ecurl\\x07\n");
    answerWith(tenant({ status_message: evil, labels: { a: evil }, name: evil }));
    for (const format of ["table", "json", "yaml"]) {
      const { out } = await run(["get", "acme", "-o", format]);
      expect(out).not.toMatch(unsafe);
      const parsed: unknown = format === "table" ? undefined : parseYaml(out);
      if (format !== "table") expect((parsed as Tenant).labels["a"]).toBe(evil);
    }
    expect((await run(["archive", "acme"], { columns: 300 })).out).not.toMatch(unsafe);
    expect((await run(["archive", "acme", "--wait", "--timeout", "1ms"])).err).not.toMatch(unsafe);
  });
});

describe("processes", () => {
  it("hands settings over and answers the exit code of the process", async () => {
    expect((await run("dev --port 9000 --data-dir d --set log.level=debug".split(" "))).code).toBe(0);
    expect((await run("worker --config-file w.yaml".split(" "))).code).toBe(9);
    await run(["serve"]);
    await run(["migrate"]);
    expect(cli.runs).toEqual([
      [
        "dev",
        {
          flags: [
            { key: "log.level", value: "debug", flag: "--set" },
            { key: "http.port", value: "9000", flag: "--port" },
            { key: "data_dir", value: "d", flag: "--data-dir" },
          ],
        },
      ],
      ["worker", { configFile: "w.yaml", flags: [] }],
      ["serve", { flags: [] }],
      ["migrate", { flags: [] }],
    ]);
  });

  it("prints what a process throws", async () => {
    const runServe = () => Promise.reject(new Error("port taken"));
    expect(await run(["serve"], { runServe })).toMatchObject({ code: 1, err: "error: port taken\n" });
  });

  it("prints the configuration, and every problem of it", async () => {
    writeFileSync(path.join(cli.cwd, "landlord.yaml"), "http: {port: 1}\ncompute: {process: {}}\n");
    const { code, out, err } = await run(["config", "print", "--set", "log.level=warn"]);
    expect(code).toBe(0);
    expect(out).toContain("port: 1 # from landlord.yaml:1\n");
    expect(out).toContain("level: warn # from flag --set\n");
    expect(err).toContain(path.join(cli.cwd, "landlord.yaml"));
    expect((await run(["config", "print", "--role", "worker"])).out).not.toContain("database");
    const wrong = await run(["config", "print", "--set", "log.level=loud", "--set", "http.prt=1"]);
    expect(wrong.code).toBe(2);
    expect(wrong.err).toMatch(/flag --set: http\.prt: .*\n.*flag --set: log\.level: .*\nhint: /);
  });
});

describe("help", () => {
  const leaves = (command: Command): Command[] =>
    command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);

  it("has a description and an example for every command", async () => {
    const program = await buildCli(cli.deps({ out: "", err: "" }, {}));
    const paths = leaves(program).map((leaf) =>
      leaf.parent === null || leaf.parent === program ? [leaf.name()] : [leaf.parent.name(), leaf.name()],
    );
    expect(paths.length).toBeGreaterThan(40);
    for (const words of paths) {
      const { code, out } = await run([...words, "--help"]);
      expect(code).toBe(0);
      expect(out).toMatch(/^Usage: landlord .+\n\n\S.+\n/);
      expect(out).toMatch(new RegExp(`Examples?:\n  \\$ landlord ${words.join(" ")}`));
    }
    expect((await run(["--version"], { version: "1.2.3" })).out).toBe("1.2.3\n");
    expect((await run(["--help"])).out).toContain("Exit codes:");
  });
});
