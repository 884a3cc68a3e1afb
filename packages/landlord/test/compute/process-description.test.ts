import { describe, expect, it } from "vitest";
import {
  describeProcess,
  processEngineConfigSchema,
  validateProcessConfig,
} from "../../src/compute/process/description.ts";
import { changedFields } from "../../src/domain/plan.ts";
import type { JsonObject } from "../../src/domain/json.ts";

const pointers = (config: JsonObject) => validateProcessConfig(config).map(({ pointer }) => pointer);
const command = ["sleep", "1"];

describe("compute_config of process", () => {
  it("accepts everything that it documents", () => {
    const config = {
      compute_provider: "process",
      command,
      env: { A: "1" },
      cwd: "/tmp",
      ports: [{}, { name: "admin" }],
      health_check: {
        type: "http",
        path: "/health?x=1",
        port: "admin",
        interval_seconds: 1,
        timeout_seconds: 1,
        deadline_seconds: 9,
      },
      resources: { cpu: 500, memory: 128, pids: 64 },
      stop_grace_seconds: 2.5,
    };
    expect(validateProcessConfig(config)).toEqual([]);
  });

  it.each<[string, JsonObject, string[]]>([
    ["no command", {}, ["/command"]],
    ["an empty command", { command: [] }, ["/command"]],
    ["a NUL", { command: ["sh", "a\0b"] }, ["/command/1"]],
    ["an option as program", { command: ["-c"] }, ["/command"]],
    [
      "unknown keys",
      { command, imge: "x", health_check: { kind: "tcp" }, "a/b": 1 },
      ["/health_check/kind", "/imge", "/a~1b"],
    ],
    ["a bad variable", { command, env: { "a-b": "x" } }, ["/env/a-b"]],
    ["a reserved variable", { command, env: { LANDLORD_TENANT_ID: "x" } }, ["/env/LANDLORD_TENANT_ID"]],
    ["a relative folder", { command, cwd: "work" }, ["/cwd"]],
    [
      "one name twice",
      { command, ports: [{}, {}, { name: "a-b" }, { name: "a_b" }] },
      ["/ports/1", "/ports/3/name"],
    ],
    [
      "too many ports",
      { command, ports: Array.from({ length: 17 }, (_, i) => ({ name: `p${i}` })) },
      ["/ports"],
    ],
    ["a check without a port", { command, health_check: { type: "http" } }, ["/health_check/type"]],
    [
      "a check of an unknown port",
      { command, ports: [{}], health_check: { port: "web" } },
      ["/health_check/port"],
    ],
    [
      "an exec check without a command",
      { command, health_check: { type: "exec" } },
      ["/health_check/command"],
    ],
    [
      "a path with a line feed",
      { command, ports: [{}], health_check: { type: "http", path: "/a\r\nb" } },
      ["/health_check/path"],
    ],
    [
      "limits of no sense",
      { command, resources: { cpu: 0.5, memory: -1 } },
      ["/resources/cpu", "/resources/memory"],
    ],
  ])("points at %s", (_, config, expected) => {
    expect(pointers(config).sort()).toEqual(expected.sort());
  });

  it("describes itself as JSON Schema and hands out the operator's defaults", () => {
    const defaults = { env: { A: "1" }, health_check: { timeout_seconds: 5 } };
    const description = describeProcess({ defaults });
    expect(description).toMatchObject({ name: "process", configDefaults: defaults, immutableKeys: [] });
    expect(description.configSchema).toMatchObject({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      additionalProperties: false,
      required: ["command"],
      properties: { stop_grace_seconds: { default: 5 } },
    });
    expect(describeProcess({}).configDefaults).toBeNull();
  });

  it("refuses a block with unknown keys or an empty range of ports", () => {
    expect(processEngineConfigSchema.safeParse({ data_dir: "/x", cgroup: "off" }).success).toBe(true);
    expect(processEngineConfigSchema.safeParse({ datadir: "/x" }).success).toBe(false);
    expect(processEngineConfigSchema.safeParse({ port_min: 3000, port_max: 2000 }).success).toBe(false);
    expect(processEngineConfigSchema.safeParse({ defaults: { comand: [] } }).success).toBe(false);
  });
});

describe("changed fields", () => {
  it("points at what differs", () => {
    const before = {
      a: 1,
      list: [1],
      same: { x: [1, { b: 1, a: 2 }] },
      nested: { "x/y": 1, keep: 1 },
      gone: null,
    };
    const after = {
      a: 2,
      list: [1, 2],
      same: { x: [1, { a: 2, b: 1 }] },
      nested: { "x/y": 2, keep: 1 },
      made: 0,
    };
    expect(changedFields(before, after)).toEqual(["/a", "/gone", "/list", "/made", "/nested/x~1y"]);
  });
});
