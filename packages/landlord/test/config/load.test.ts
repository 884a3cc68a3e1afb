import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { variableOf } from "../../src/config/environment.ts";
import { ConfigError, loadConfig, type LoadOptions } from "../../src/config/load.ts";
import { printConfig } from "../../src/config/print.ts";
import { renderConfigurationReference } from "../../src/config/reference.ts";
import { computeBlocks } from "../../src/config/schema.ts";
import { parse } from "yaml";

const computeSchemas = {
  process: z.strictObject({
    port_min: z.int().min(1).max(65535).default(20000).describe("First port."),
    registry_password: z.string().optional().describe("Secret."),
    defaults: z.record(z.string(), z.json()).default({}).describe("Defaults of tenants."),
  }),
  mock: z.strictObject({ latency_ms: z.int().default(0).describe("Delay.") }),
  cluster: z.strictObject({ region: z.string().describe("Where.") }),
};

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "landlord-config-"));
});
afterEach(() => rmSync(cwd, { recursive: true }));

type Given = Partial<Omit<LoadOptions, "role">> & { file?: string };

function options({ file, env, ...rest }: Given = {}) {
  if (file !== undefined) writeFileSync(path.join(cwd, "landlord.yaml"), file);
  return { computeSchemas, cwd, env: { HOME: cwd, ...env }, ...rest };
}
const load = (given: Given = {}) => loadConfig({ ...options(given), role: "dev" });

function problemsOf(given: Given, role: "dev" | "server" = "dev"): readonly string[] {
  try {
    loadConfig({ ...options(given), role });
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).details;
  }
  return [];
}

describe("sources", () => {
  it("has a default for every key that is not optional", () => {
    const { config, file } = load();
    expect(file).toBeNull();
    expect(config.http).toMatchObject({ host: "127.0.0.1", port: 8081, read_timeout: 10_000 });
    expect(config.controller).toMatchObject({
      workflow_provider: "restate",
      operation_deadline: 1_800_000,
      history_retention: 2160 * 3_600_000,
      on_deadline: "keep_retrying",
    });
    expect(config.worker).toMatchObject({ engine: "restate", absence_settle: 500, compute_overrides: {} });
    expect(config.compute).toEqual({});
  });

  it("lets the environment win over the file, and flags over both", () => {
    const { config, sources, file } = load({
      file: "http:\n  port: 1000\n  host: 10.0.0.1\nlog: {level: debug}\n",
      env: { LANDLORD_HTTP__PORT: "2000", LANDLORD_LOG__LEVEL: "warn" },
      flags: [{ key: "http.port", value: "3000", flag: "--port" }],
    });
    expect(config.http).toMatchObject({ port: 3000, host: "10.0.0.1" });
    expect(config.log.level).toBe("warn");
    expect(file).toBe(path.join(cwd, "landlord.yaml"));
    expect(sources.get("http.port")).toEqual({ kind: "flag", flag: "--port" });
    expect(sources.get("http.host")).toEqual({ kind: "file", file: "landlord.yaml", line: 3 });
    expect(sources.get("log.level")).toEqual({ kind: "environment", name: "LANDLORD_LOG__LEVEL" });
    expect(sources.get("log.format")).toEqual({ kind: "default" });
  });

  it("takes the file from the flag, then LANDLORD_CONFIG, then the usual places", () => {
    const write = (name: string, port: number) => {
      mkdirSync(path.dirname(path.join(cwd, name)), { recursive: true });
      writeFileSync(path.join(cwd, name), `http: {port: ${port}}`);
    };
    write("xdg/landlord/landlord.yaml", 1);
    const env = { XDG_CONFIG_HOME: path.join(cwd, "xdg") };
    expect(load({ env }).config.http.port).toBe(1);
    write("landlord.yaml", 2);
    expect(load({ env }).config.http.port).toBe(2);
    write("named.yaml", 3);
    expect(load({ env: { ...env, LANDLORD_CONFIG: "named.yaml" } }).config.http.port).toBe(3);
    write("flag.yaml", 4);
    const both = load({ env: { ...env, LANDLORD_CONFIG: "named.yaml" }, configFile: "flag.yaml" });
    expect(both.config.http.port).toBe(4);
    expect(problemsOf({ configFile: "missing.yaml" })).toEqual([
      expect.stringContaining("missing.yaml: cannot be read"),
    ]);
  });

  it("parses variables as the type of their key", () => {
    const { config } = load({
      env: {
        LANDLORD_CONTROLLER__ENABLED: "false",
        LANDLORD_CONTROLLER__BACKOFF_MAX: "1h30m",
        LANDLORD_WORKFLOW__RESTATE__WORKER_IDENTITY_KEYS: '["publickeyv1_a", "publickeyv1_b"]',
        LANDLORD_COMPUTE__PROCESS: "{port_min: 3000, defaults: {command: [a]}}",
        LANDLORD_COMPUTE__PROCESS__DEFAULTS__CPU: "2",
        LANDLORD_COMPUTE__MOCK: "{}",
        LANDLORD_DATA_DIR: "007",
        LANDLORD_HTTP__PUBLIC_URL: "",
      },
    });
    expect(config.controller).toMatchObject({ enabled: false, backoff_max: 5_400_000 });
    expect(config.workflow.restate.worker_identity_keys).toEqual(["publickeyv1_a", "publickeyv1_b"]);
    expect(config.data_dir).toBe("007");
    expect(config.http).not.toHaveProperty("public_url");
    expect([...computeBlocks(config.compute)]).toEqual([
      ["process", { port_min: 3000, defaults: { command: ["a"], cpu: 2 } }],
      ["mock", { latency_ms: 0 }],
    ]);
  });

  it("has a variable for every key", () => {
    const { config, sources } = load({ file: "compute: {process: {}, mock: {}, cluster: {region: x}}" });
    const printed = parse(printConfig({ ...load(), config, sources })) as Record<string, unknown>;
    const env: Record<string, string> = {};
    for (const key of sources.keys()) {
      const value = key
        .split(".")
        .reduce<unknown>((each, part) => (each as Record<string, unknown>)[part], printed);
      env[variableOf(key)] = typeof value === "string" ? value : JSON.stringify(value);
    }
    const again = load({ file: "", env });
    expect(again.config).toEqual(config);
    const unset = [...again.sources]
      .filter(([, source]) => source.kind !== "environment")
      .map(([key]) => key);
    // Their default is "", which as a variable means "not set".
    expect(unset).toEqual(["workflow.restate.worker_namespace", "workflow.restate.worker_service_prefix"]);
  });

  it("leaves open objects and unions of a provider to its schema", () => {
    const open = z.looseObject({ region: z.string() }).describe("Open.");
    const either = z.union([z.string(), z.int()]);
    const given = {
      computeSchemas: { open, strict: z.strictObject({ size: either.default(1) }) },
      env: { LANDLORD_COMPUTE__OPEN: "{region: x, more: 1}", LANDLORD_COMPUTE__STRICT__SIZE: "2" },
    };
    expect(load(given).config.compute).toEqual({ open: { region: "x", more: 1 }, strict: { size: 2 } });
  });

  it("enables a provider by a block without a value", () => {
    expect([...computeBlocks(load({ file: "compute:\n  process:\n" }).config.compute).keys()]).toEqual([
      "process",
    ]);
  });

  it("accepts the older names of worker settings", () => {
    const file = "workflow: {restate: {worker_landlord_api_url: http://a/, worker_compute_cache_ttl: 1m}}";
    const { config, sources } = load({ file });
    expect(config.worker).toMatchObject({ api_url: "http://a/", compute_cache_ttl: 60_000 });
    expect(sources.get("worker.api_url")).toMatchObject({ kind: "file", line: 1 });
    const env = { LANDLORD_WORKFLOW__RESTATE__WORKER_LANDLORD_API_URL: "http://b/" };
    expect(load({ file, env }).config.worker.api_url).toBe("http://b/");
    expect(problemsOf({ env: { ...env, LANDLORD_WORKER__API_URL: "http://c/" } })).toHaveLength(1);
  });
});

describe("worker", () => {
  const env = { LANDLORD_DATABASE__URL: "nonsense", LANDLORD_DATABASE__WHATEVER: "1" };

  it("never reads the database section, not even to find it wrong", () => {
    const given = options({ file: "database:\n  url: [broken]\n  provider: sqlite\nhttp: {port: 1}\n", env });
    const loaded = loadConfig({ ...given, role: "worker" });
    expect(loaded.config).not.toHaveProperty("database");
    expect(loaded.config.http.port).toBe(1);
    expect(JSON.stringify(loaded.config)).not.toContain("nonsense");
    expect([...loaded.sources.keys()].filter((key) => key.startsWith("database"))).toEqual([]);
    expect(printConfig(loaded)).not.toMatch(/nonsense|database|broken/);
  });

  it("is the only role that skips it", () => {
    expect(problemsOf({ env })).toHaveLength(2);
  });
});

describe("problems", () => {
  it("reports all at once, each with source, key and reason", () => {
    const problems = problemsOf({
      file: "http:\n  prot: 1\n  port: 70000\ndatabase:\n  provider: sqlite\ncontroler: {}\n",
      env: { LANDLORD_LOG__LEVEL: "loud", LANDLORD_HTPP__HOST: "x" },
      flags: [{ key: "http.host", value: 5, flag: "--host" }],
    });
    expect(problems).toEqual([
      "landlord.yaml:2: http.prot: unknown key; did you mean http.port?",
      "landlord.yaml:5: database.provider: only PostgreSQL is supported: remove the key and set database.url",
      "landlord.yaml:6: controler: unknown key; did you mean controller?",
      "environment variable LANDLORD_HTPP__HOST: htpp.host: unknown setting; did you mean LANDLORD_HTTP__HOST?",
      "flag --host: http.host: expected string, received number",
      "landlord.yaml:3: http.port: too big: expected number to be <=65535",
      expect.stringMatching(/^environment variable LANDLORD_LOG__LEVEL: log\.level: invalid option/),
    ]);
  });

  it.each([
    ["database: {sqlite: {path: x}}", "database.sqlite"],
    ["database: {min_connections: 1}", "database.min_connections"],
    ["http: {tailscale_auth: {enabled: true}}", "http.tailscale_auth"],
    ["workflow: {restate: {service_name: x}}", "worker_namespace"],
    ["workflow: {restate: {api_key: x}}", "auth_token"],
    ["workflow: {restate: {timeout: 1s}}", "request_timeout"],
    ["workflow: {restate: {worker_compute_provider: x}}", "compute.default_provider"],
    ["workflow: {temporal: {host: x}}", "not available yet"],
    ["controller: {max_retries: 3}", "on_deadline"],
  ])("names the replacement of %s", (file, replacement) => {
    expect(problemsOf({ file })).toEqual([expect.stringContaining(replacement)]);
  });

  it("names the replacement for a variable, too", () => {
    const env = { LANDLORD_WORKFLOW__RESTATE__AUTH_TYPE: "x" };
    expect(problemsOf({ env })).toEqual([expect.stringContaining("auth_token")]);
  });

  it("knows the compute providers", () => {
    expect(problemsOf({ file: "compute: {proces: {}}" })).toEqual([
      expect.stringContaining("did you mean compute.process?"),
    ]);
    expect(problemsOf({ file: "compute: {kubernetes: {}}" })).toEqual([
      "landlord.yaml:1: compute.kubernetes: unknown key; compute has: default_provider, process, mock, cluster",
    ]);
    expect(problemsOf({ file: "compute:\n  cluster: {}" })).toEqual([
      "landlord.yaml:2: compute.cluster.region: is required",
    ]);
    expect(problemsOf({ file: "compute: {default_provider: proces}" })).toHaveLength(1);
    expect(problemsOf({ file: "worker: {compute_overrides: {mock: {x: 1}}}" })).toHaveLength(1);
  });

  it("checks keys against each other", () => {
    expect(problemsOf({ file: "database: {url: postgres://a/b, host: c}" })).toEqual([
      expect.stringContaining("cannot be combined with database.url"),
    ]);
    expect(problemsOf({ file: "controller: {lease_duration: 10s}" })).toEqual([
      expect.stringContaining("raise lease_duration to 15s"),
    ]);
    expect(problemsOf({ file: "controller: {backoff_max: 500ms}" })).toHaveLength(1);
    expect(problemsOf({ file: "" }, "server")).toEqual([
      expect.stringContaining("database.url: is required"),
    ]);
    const file = "database: {url: postgres://a/b}\nworkflow: {default_provider: mock}";
    expect(problemsOf({ file }, "server")).toEqual([expect.stringContaining("workflow.allow_mock")]);
  });

  it("does not echo a secret", () => {
    const problems = problemsOf({ file: "database: {url: mysql://u:hunter2@h/d}" });
    expect(problems.join()).not.toContain("hunter2");
  });

  it("ignores what Kubernetes adds and what has no prefix", () => {
    const env = {
      DB_HOST: "x",
      LOG_LEVEL: "x",
      LANDLORD_API_URL: "x",
      LANDLORD_API_TOKEN: "x",
      LANDLORD_SERVICE_HOST: "10.0.0.1",
      LANDLORD_SERVICE_PORT_HTTP: "8081",
      LANDLORD_PORT: "tcp://10.0.0.1:8081",
      LANDLORD_PORT_8081_TCP_ADDR: "10.0.0.1",
    };
    expect(problemsOf({ env })).toEqual([]);
    expect(problemsOf({ env: { LANDLORD_PORT: "8081" } })).toHaveLength(1);
  });

  it("names the line of broken YAML, and survives hostile keys", () => {
    expect(problemsOf({ file: "http:\n  port: [1\n" })[0]).toMatch(/^landlord\.yaml:\d: /);
    expect(problemsOf({ file: "__proto__: {x: 1}\nhttp: {constructor: 1}" })).toHaveLength(2);
    expect(problemsOf({ file: "- a\n" })).toEqual(["landlord.yaml: must be a section of keys and values"]);
  });
});

describe("printing", () => {
  it("can be loaded again, hides secrets, and says where values came from", () => {
    const loaded = load({
      file: "database: {url: 'postgres://u:hunter2@h/d'}\ncompute:\n  process: {registry_password: hunter2}\n  mock: {}\n",
      env: { LANDLORD_WORKER__API_TOKEN: "hunter2", LANDLORD_CONTROLLER__BACKOFF_MAX: "90s" },
    });
    const text = printConfig(loaded);
    expect(text).not.toContain("hunter2");
    expect(text).toContain("url: postgres://u:[redacted]@h/d # from landlord.yaml:1");
    expect(text).toContain("backoff_max: 1m30s # from environment variable LANDLORD_CONTROLLER__BACKOFF_MAX");
    expect(text).toContain("worker_identity_keys: [] # from default");
    writeFileSync(path.join(cwd, "again.yaml"), text);
    expect(load({ configFile: "again.yaml" }).config.controller).toEqual(loaded.config.controller);
    expect((parse(text) as { compute: unknown }).compute).toMatchObject({ mock: { latency_ms: 0 } });
  });

  it("documents every key", () => {
    const page = renderConfigurationReference({ computeSchemas });
    expect(page).toContain("| `http.port`<br>`LANDLORD_HTTP__PORT` | integer, 0 to 65535 | `8081` |");
    expect(page).toContain("| duration | `30m` |");
    expect(page).toContain(
      "`compute.cluster.region`<br>`LANDLORD_COMPUTE__CLUSTER__REGION` | string | required |",
    );
    expect(page).toContain("`controller.max_retries`");
    const undocumented = page.split("\n").filter((line) => line.startsWith("| `") && line.endsWith("|  |"));
    expect(undocumented).toEqual([]);
  });
});
