/** Packages named in the configuration: found, checked, and refused in words that say what to do. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findPlugins, type PluginReference } from "../../src/config/plugins.ts";
import { loadConfig } from "../../src/config/load.ts";
import { computeBlocks } from "../../src/config/schema.ts";
import { BUILT_IN_COMPUTE, computeRegistry, computeSchemas } from "../../src/start/compute-registry.ts";
import { loadPlugins } from "../../src/start/plugins.ts";

const EXAMPLE = fileURLToPath(new URL("../../../../examples/landlord-compute-static", import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "landlord-plugins-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Installs a package whose default export is `code`, below the folder of the test. */
function install(name: string, code: string): void {
  const home = join(folder, "node_modules", name);
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, "package.json"), JSON.stringify({ name, type: "module", exports: "./index.js" }));
  writeFileSync(join(home, "index.js"), code);
}

const reference = (change: Partial<PluginReference> = {}): PluginReference => ({
  kind: "compute",
  name: "fly",
  package: "landlord-compute-fly",
  folder,
  ...change,
});

const load = (one: PluginReference): Promise<unknown> => loadPlugins([one], BUILT_IN_COMPUTE);

describe("packages", () => {
  test("are named in file, environment and flags, later ones first", () => {
    const file = join(folder, "landlord.yaml");
    writeFileSync(
      file,
      "compute: {fly: {package: a}, process: {}}\nworkflow: {cron: {package: ./b.js}, restate: {endpoint: x}}\n",
    );
    expect(
      findPlugins({
        configFile: file,
        env: { LANDLORD_COMPUTE__NOMAD__PACKAGE: "c", LANDLORD_COMPUTE__FLY__PACKAGE: "d" },
        flags: [{ key: "workflow.cron.package", value: "e", flag: "--set" }],
        cwd: "/somewhere",
      }),
    ).toEqual([
      { kind: "compute", name: "fly", package: "d", folder: "/somewhere" },
      { kind: "workflow", name: "cron", package: "e", folder: "/somewhere" },
      { kind: "compute", name: "nomad", package: "c", folder: "/somewhere" },
    ]);
    expect(findPlugins({ configFile: join(folder, "none.yaml"), env: {}, cwd: folder })).toEqual([]);
  });

  test("that are not installed are refused with the command that installs them", async () => {
    await expect(load(reference())).rejects.toMatchObject({
      code: "plugin_not_installed",
      message: expect.stringMatching(
        /compute\.fly names the package "landlord-compute-fly".*npm install landlord-compute-fly` in /s,
      ),
    });
    await expect(load(reference({ package: "./no-such-file.js" }))).rejects.toMatchObject({
      code: "plugin_not_installed",
    });
  });

  test("that throw while they are loaded are refused with their reason", async () => {
    install("landlord-compute-fly", 'throw new Error("no token for fly");');
    await expect(load(reference())).rejects.toMatchObject({
      code: "plugin_failed",
      message: expect.stringContaining("no token for fly"),
      cause: expect.objectContaining({ message: "no token for fly" }),
    });
  });

  const shape = (change: string): string =>
    `export default { kind: "compute", portVersion: 1, name: "fly", secretKeys: [], describe() {}, create() {},
       engineConfigSchema: { _zod: {}, safeParse() {}, extend() {} }, ${change} };`;

  test.each([
    ["no default export", "export const name = 1;", "plugin_invalid", /no default export/],
    [
      "another kind",
      shape('kind: "workflow"'),
      "plugin_invalid",
      /kind is "workflow", and must be "compute"/,
    ],
    ["another name", shape('name: "nomad"'), "plugin_invalid", /calls itself "nomad"/],
    ["a part missing", shape("create: 1"), "plugin_invalid", /lacks create \(function\)/],
    [
      "no schema",
      shape("engineConfigSchema: {}"),
      "plugin_invalid",
      /lacks engineConfigSchema \(a strict object of zod 4/,
    ],
    ["a newer port", shape("portVersion: 2"), "plugin_port_version", /version 2.*newer Landlord/],
    ["an older port", shape("portVersion: 0"), "plugin_port_version", /version 0.*newer release/],
    ["no version", shape("portVersion: undefined"), "plugin_port_version", /no version/],
  ])("with %s are refused", async (_, code, errorCode, message) => {
    install("landlord-compute-fly", code);
    await expect(load(reference())).rejects.toMatchObject({
      code: errorCode,
      message: expect.stringMatching(message),
    });
  });

  test("cannot take the name of what Landlord brings", async () => {
    for (const taken of [
      reference({ name: "docker" }),
      reference({ kind: "workflow", name: "restate" }),
      reference({ kind: "workflow", name: "step_functions" }),
    ]) {
      await expect(load(taken)).rejects.toMatchObject({ code: "plugin_name_taken" });
    }
  });

  test("bring the schema of their block, and never see the key that names them", async () => {
    const file = join(folder, "landlord.yaml");
    const database = "database: {url: postgres://h/d}\n";
    writeFileSync(
      file,
      `${database}compute: {static: {package: ${EXAMPLE}/src/index.js, root: /srv/sites}}\n`,
    );
    const plugins = await loadPlugins(findPlugins({ configFile: file, env: {} }), BUILT_IN_COMPUTE);
    const schemas = computeSchemas(computeRegistry(plugins.compute));
    const options = { role: "server", computeSchemas: schemas, configFile: file, env: {} } as const;
    expect(computeBlocks(loadConfig(options).config.compute)).toEqual(
      new Map([["static", { root: "/srv/sites" }]]),
    );
    writeFileSync(
      file,
      `${database}compute: {static: {package: ${EXAMPLE}/src/index.js, rot: /srv/sites}}\n`,
    );
    expect(() => loadConfig(options)).toThrow(
      expect.objectContaining({
        details: [
          expect.stringContaining("did you mean compute.static.root"),
          expect.stringContaining("root"),
        ],
      }),
    );
  });
});
