/** `doctor`: looks at everything that has to be there, and says how to mend what is not. */
import { LandlordApiError, type LandlordClient } from "@landlord/client";
import { Option, type Command } from "commander";
import { areContextsExposed, contextsFile } from "../config/contexts.ts";
import { loadConfig, type LoadedConfig, type LoadOptions } from "../config/load.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { example, type Report } from "./command.ts";
import {
  clientOf,
  connectionOf,
  hasOutputColour,
  print,
  type CliDeps,
  type Connection,
  type Finding,
  type GlobalOptions,
} from "./context.ts";
import { EXIT_CODES } from "./failure.ts";
import { paint, printable } from "./output.ts";
import { skewFinding } from "./skew.ts";
import {
  ROLES,
  runOptionsOf,
  withConfiguration,
  type ProcessFlags,
  type RoleName,
} from "./process-commands.ts";

const TIMEOUT_MS = 10_000;
/** The same as the packages say under `engines`. */
export const SUPPORTED_NODE = "^20.19.0 || ^22.12.0 || >=24.0.0";

interface DoctorFlags extends GlobalOptions, ProcessFlags {
  readonly role: RoleName;
}

export function addDoctorCommand(program: Command, deps: CliDeps, report: Report): void {
  const command = withConfiguration(
    program
      .command("doctor")
      .description("Look for what is wrong here and at the server, and say how to mend it"),
  )
    .option("--port <port>", "port of the API (http.port)")
    .option("--data-dir <folder>", "folder for all data (data_dir)")
    .addOption(new Option("--role <role>", "whose configuration to check").choices(ROLES).default("cli"))
    .addHelpText(
      "after",
      example("doctor", "doctor --role server --config-file /etc/landlord/landlord.yaml", "doctor -o json"),
    );
  command.action(async () => {
    const options = command.optsWithGlobals<DoctorFlags>();
    const findings = [
      nodeFinding(deps.nodeVersion ?? process.versions.node),
      ...(await configurationFindings(deps, options)),
      ...(await serverFindings(deps, options)),
    ];
    print(deps, options.output, { findings }, () => findingsText(findings, hasOutputColour(deps)));
    if (findings.some(({ status }) => status === "problem")) report(EXIT_CODES.failure);
  });
}

/** Whether this Node is one of those that are tested. `version` like "22.12.0". */
export function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  if (isSupported) return { check: "Node", status: "ok", message: version };
  return {
    check: "Node",
    status: "problem",
    message: `${version} is not supported`,
    mend: `install one of ${SUPPORTED_NODE}`,
  };
}

async function configurationFindings(deps: CliDeps, options: DoctorFlags): Promise<readonly Finding[]> {
  const check = "configuration";
  let loaded: LoadedConfig;
  try {
    const sources = {
      ...runOptionsOf(options),
      env: deps.env,
      ...(deps.cwd === undefined ? {} : { cwd: deps.cwd }),
    };
    const load: Omit<LoadOptions, "role"> = { ...sources, ...(await deps.configSchemas(sources)) };
    const { role } = options;
    loaded = role === "worker" ? loadConfig({ ...load, role }) : loadConfig({ ...load, role });
  } catch (error) {
    const details = error instanceof LandlordError ? error.details : [];
    return [
      {
        check,
        status: "problem",
        message: [messageOf(error), ...details].join("\n"),
        mend: "correct what the lines name; docs/configuration.md has every key",
      },
    ];
  }
  const file = loaded.file ?? "no file, only defaults and the environment";
  return [{ check, status: "ok", message: file }, ...(await deps.examine(loaded))];
}

async function serverFindings(deps: CliDeps, options: DoctorFlags): Promise<readonly Finding[]> {
  let connection: Connection;
  let client: LandlordClient;
  try {
    connection = connectionOf(deps, options);
    client = clientOf(deps, options);
  } catch (error) {
    const details = error instanceof LandlordError ? error.details : [];
    const mend = `correct ${contextsFile(deps.env)}, or log in with \`landlord login URL\``;
    return [
      { check: "contexts", status: "problem", message: [messageOf(error), ...details].join("\n"), mend },
    ];
  }
  const exposed: Finding[] = areContextsExposed(deps.env)
    ? [
        {
          check: "contexts",
          status: "warning",
          message: `others may read ${contextsFile(deps.env)}, which holds keys`,
          mend: `chmod 600 ${contextsFile(deps.env)}`,
        },
      ]
    : [];
  const reached = await reach(connection);
  if (reached.length !== 2) return [...exposed, ...reached];
  const ready = await readyFinding(client);
  const [identity, isKnown] = await identityFinding(client, connection);
  const rest = isKnown ? await Promise.all([engineFinding(client), workerFinding(client)]) : [];
  return [...exposed, ...reached, ready, identity, ...rest];
}

/** Whether the API answers, and what its clock says. One finding when it does not answer. */
async function reach({ server, context }: Connection): Promise<readonly Finding[]> {
  const check = "API";
  const before = Date.now();
  try {
    const answer = await fetch(`${server.replace(/\/+$/, "").replace(/\/v1$/, "")}/health`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const after = Date.now();
    const body = (await answer.json()) as { readonly status?: unknown };
    if (body.status !== "ok")
      throw new Error(`it answered with status ${answer.status} and is no Landlord API`);
    const from = context === null ? "" : `, context ${context}`;
    const ok: Finding = { check, status: "ok", message: `${server} answers in ${after - before} ms${from}` };
    const at = Date.parse(answer.headers.get("date") ?? "");
    if (Number.isNaN(at))
      return [ok, { check: "clock of the server", status: "skipped", message: "it does not tell its time" }];
    // The header has whole seconds: half of one is the best guess.
    return [ok, skewFinding("clock of the server", at + 500 - (before + after) / 2)];
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    return [
      {
        check,
        status: "problem",
        message: `${server} does not answer: ${messageOf(cause)}`,
        mend: "start it with `landlord dev` or `landlord serve`, or name another with --server or `landlord login`",
      },
    ];
  }
}

async function readyFinding(client: LandlordClient): Promise<Finding> {
  const check = "readiness";
  try {
    const { status, checks, error } = await client.ready();
    const broken = Object.entries(checks).filter(([, state]) => state !== "ok");
    if (status === "ready") return { check, status: "ok", message: "ready" };
    const parts = broken.map(([name, state]) => `${name}: ${state}`);
    return {
      check,
      status: "problem",
      message: `the server is not ready: ${[error, ...parts].filter(Boolean).join("; ")}`,
      mend: "mend what it names; while the database is away no request can be answered",
    };
  } catch (error) {
    return { check, status: "problem", message: messageOf(error), mend: "look at the server's log" };
  }
}

/** Second: whether further questions make sense. */
async function identityFinding(
  client: LandlordClient,
  { token }: Connection,
): Promise<readonly [Finding, boolean]> {
  const check = "key";
  try {
    const { name, role, expires_at: expires } = await client.getIdentity();
    const until = expires === null ? "" : `, until ${expires}`;
    return [{ check, status: "ok", message: `${name}, ${role}${until}` }, true];
  } catch (error) {
    const code = error instanceof LandlordApiError ? error.code : "";
    const isExpired = code === "token_expired";
    const missing = token === undefined ? "no key was sent" : "the key is wrong or was revoked";
    return [
      {
        check,
        status: "problem",
        message: `${isExpired ? "the key has expired" : missing}: ${messageOf(error)}`,
        mend: "ask an admin for a key (`landlord token create`), then `landlord login URL --token-stdin`",
      },
      false,
    ];
  }
}

async function engineFinding(client: LandlordClient): Promise<Finding> {
  const check = "engine";
  try {
    const engines = await client.listWorkflowProviders();
    const lost = engines.filter(({ reachable }) => !reachable);
    if (lost.length === 0)
      return { check, status: "ok", message: `${engines.map(({ name }) => name).join(", ")}: reachable` };
    return {
      check,
      status: "problem",
      message: lost
        .map(({ name, error }) => `${name} does not answer: ${error ?? "no reason is known"}`)
        .join("\n"),
      mend: "start it, or correct its block beneath workflow; tenants wait meanwhile",
    };
  } catch (error) {
    return { check, status: "problem", message: messageOf(error), mend: "look at the server's log" };
  }
}

async function workerFinding(client: LandlordClient): Promise<Finding> {
  const check = "worker";
  try {
    const workers = await client.listWorkers();
    const live = workers.filter((each) => each.live);
    const idle = live.filter(({ registered_at: registeredAt }) => registeredAt === null);
    if (live.length === 0)
      return {
        check,
        status: "problem",
        message: workers.length === 0 ? "no worker has reported" : "every worker has been silent for a while",
        mend: "start one with `landlord worker`, with worker.api_url and worker.api_token set; look at its log",
      };
    if (idle.length === live.length)
      return {
        check,
        status: "problem",
        message: `no worker is registered with its engine: ${idle[0]?.last_error ?? "no reason is known"}`,
        mend: "correct workflow.restate.worker_admin_endpoint and worker_advertised_url at the worker",
      };
    return { check, status: "ok", message: live.length === 1 ? "1 is live" : `${live.length} are live` };
  } catch (error) {
    return { check, status: "problem", message: messageOf(error), mend: "look at the server's log" };
  }
}

const SIGNS = { ok: "✓", warning: "!", problem: "✗", skipped: "-" } as const;
const COLOURS = { ok: "green", warning: "yellow", problem: "red", skipped: "dim" } as const;

function findingsText(findings: readonly Finding[], colour: boolean): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, status, message, mend }) => {
    const [first = "", ...more] = message.split("\n");
    const sign = paint(SIGNS[status], COLOURS[status], colour);
    const rest = [...more, ...(mend === undefined ? [] : [`→ ${mend}`])];
    return [
      `${sign} ${check.padEnd(width)}  ${status.padEnd(7)}  ${printable(first)}`,
      ...rest.map((line) => `${" ".repeat(width + 13)}${printable(line)}`),
    ];
  });
  const count = (wanted: Finding["status"]) => findings.filter(({ status }) => status === wanted).length;
  const [problems, warnings] = [count("problem"), count("warning")];
  const summary =
    problems + warnings === 0
      ? "All is well."
      : `${problems} ${problems === 1 ? "problem" : "problems"}, ${warnings} ${warnings === 1 ? "warning" : "warnings"}.`;
  return `${[...lines, "", summary].join("\n")}\n`;
}
