import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DIRECTIONS, findViolations, PACKAGE_RULES } from "../../../../scripts/import-directions.ts";
import { readTypeScript, ROOT } from "../../../../scripts/source-files.ts";

const APP = "packages/landlord/src";

/** What is said of one line in a file of the app. */
function said(path: string, text: string): readonly string[] {
  const full = path.startsWith("/") ? path.slice(1) : `${APP}/${path}`;
  return findViolations([{ path: full, text }]).map((violation) => violation.message);
}

describe("the sources", () => {
  const files = readTypeScript("packages", "acceptance");

  it("keep to the directions", () => {
    expect(files.length).toBeGreaterThan(100);
    expect(findViolations(files)).toEqual([]);
  });

  it("have every folder in the table", () => {
    const folders = readdirSync(join(ROOT, APP), { withFileTypes: true }).filter((each) =>
      each.isDirectory(),
    );
    expect(folders.map((each) => each.name).filter((name) => DIRECTIONS[name] === undefined)).toEqual([]);
  });
});

/** Every pair of folders that the table does not allow, whole or in part. */
const closedPairs = Object.entries(DIRECTIONS).flatMap(([from, allowed]) =>
  Object.keys(DIRECTIONS)
    .filter((to) => to !== from && allowed !== "everything" && !allowed.includes(to))
    .map((to) => [from, to] as const),
);

describe("import directions", () => {
  it.each(closedPairs)("%s may not import %s", (from, to) => {
    expect(said(`${from}/a.ts`, `import { x } from "../${to}/secret.ts";`)).toEqual([
      `${from} imports ${to}/secret.ts`,
    ]);
  });

  it.each([
    ["worker/job.ts", "../store/store.ts"],
    ["compute/provider.ts", "../store/store.ts"],
    ["worker/job.ts", "../compute/process/provider.ts"],
    ["worker/job.ts", "../workflow/provider.ts"],
    ["reconciler/a.ts", "../store/postgres/postgres-store.ts"],
    ["reconciler/a.ts", "../workflow/restate/restate-provider.ts"],
    ["reconciler/a.ts", "../compute/provider.ts"],
    ["http/routes/tenants.ts", "../../workflow/provider.ts"],
    ["http/app.ts", "../store/postgres/postgres-store.ts"],
    ["http/app.ts", "../compute/registry.ts"],
    ["cli/app.ts", "../start/server.ts"],
    ["cli/app.ts", "../os/supervised.ts"],
    ["config/load.ts", "../start/main.ts"],
    ["domain/a.ts", "../contract/job.ts"],
  ])("%s may not import %s", (path, specifier) => {
    expect(said(path, `import type { x } from "${specifier}";`)).toHaveLength(1);
  });

  it.each([
    ["worker/job.ts", 'import { x } from "../compute/registry.ts";'],
    ["reconciler/a.ts", 'import { x } from "../workflow/manager.ts";'],
    ["http/app.ts", 'import type { x } from "../store/store.ts";'],
    ["http/app.ts", 'import { type x } from "../compute/provider.ts";'],
    ["start/server.ts", 'import { x } from "../workflow/restate/restate-provider.ts";'],
    ["domain/json.ts", 'import { createHash } from "node:crypto";'],
    ["compute/process/a.ts", 'import { x } from "../provider.ts";'],
  ])("%s may: %s", (path, text) => {
    expect(said(path, text)).toEqual([]);
  });

  it("lets http have ports only as types", () => {
    const message = "http imports store/store.ts at run time: only its types are allowed";
    expect(said("http/a.ts", 'import { x } from "../store/store.ts";')).toEqual([message]);
  });

  it("knows no folder that is not in the table", () => {
    expect(said("elsewhere/a.ts", 'import { x } from "../domain/json.ts";')).toEqual([
      "folder elsewhere is not in the table of import directions",
    ]);
  });

  it("keeps the sources away from everything around them", () => {
    expect(said("store/a.ts", 'import { x } from "../../test/support/api.ts";')).toHaveLength(1);
  });

  it.each([
    'import "../store/store.ts";',
    'export { x } from "../store/store.ts";',
    'export * from "../store/store.ts";',
    'const x = await import("../store/store.ts");',
    'type X = import("../store/store.ts").X;',
    'const x = require("../store/store.ts");',
    'const x = import.meta.resolve("../store/store.ts");',
    "const x = import(`../store/store.ts`);",
  ])("sees %s", (text) => {
    expect(said("worker/a.ts", `// a first line\n${text}`)).toEqual(["worker imports store/store.ts"]);
    expect(findViolations([{ path: `${APP}/worker/a.ts`, text: `\n${text}` }])[0]?.line).toBe(2);
  });

  it("takes no text for an import", () => {
    const text = `// import "../store/store.ts"\nconst x = 'import { y } from "../store/store.ts"';`;
    expect(said("worker/a.ts", text)).toEqual([]);
  });
});

describe("siblings", () => {
  it.each([
    ["compute/process/a.ts", "../mock/world.ts"],
    ["workflow/restate/a.ts", "../mock/mock-engine.ts"],
    ["worker/restate/a.ts", "../in-process/in-process-worker-engine.ts"],
    ["compute/mock/deep/a.ts", "../../process/ports.ts"],
    ["store/embedded/a.ts", "../postgres/database.ts"],
  ])("%s may not import %s", (path, specifier) => {
    expect(said(path, `import { x } from "${specifier}";`)[0]).toMatch(/^provider .+ imports its sibling /);
  });
});

describe("packages", () => {
  const owned = PACKAGE_RULES.flatMap((rule) =>
    rule.packages.map((name) => [name.replace("*", "x"), rule.folders[0] ?? ""] as const),
  );

  it.each(owned)("%s belongs to %s", (name, folder) => {
    const stranger = folder.startsWith("store") ? "http/a.ts" : "store/a.ts";
    expect(said(`${folder}/a.ts`, `import { x } from "${name}";`)).toEqual([]);
    expect(said(stranger, `import { x } from "${name}/deep";`)[0]).toContain(`${name}, which belongs to`);
    expect(said(stranger, `const x = await import("${name}");`)).toHaveLength(1);
  });

  it.each(["zod", "node:fs", "fs", "node:timers/promises"])("domain may not import %s", (name) => {
    expect(said("domain/a.ts", `import { x } from "${name}";`)).toHaveLength(1);
  });

  it("leaves the client alone with itself", () => {
    expect(said("/packages/client/src/a.ts", 'import { x } from "node:fs";')).toHaveLength(1);
    expect(said("/packages/client/src/a.ts", 'import { x } from "../../landlord/src/a.ts";')).toHaveLength(1);
    expect(said("/packages/client/src/a.ts", 'import { x } from "./b.ts";')).toEqual([]);
  });

  it("keeps acceptance tests outside of the app", () => {
    expect(said("/acceptance/a.ts", 'import { x } from "../packages/landlord/src/a.ts";')).toHaveLength(1);
    expect(said("/acceptance/deep/a.ts", 'import { x } from "../../packages/client/src/a.ts";')).toHaveLength(
      1,
    );
    expect(said("/acceptance/a.ts", 'import { x } from "@landlord/client";')).toEqual([]);
  });
});

describe("the environment", () => {
  it.each([
    "const x = process.env.HOME;",
    'const x = process["env"];',
    "const x = globalThis.process.env;",
    "const { env } = process;",
    'import { env } from "node:process";',
  ])("is read only in config: %s", (text) => {
    expect(said("store/a.ts", text)).toEqual(["process.env is read only in config/"]);
    expect(said("config/a.ts", text)).toEqual([]);
  });
});
