/** Rules that concern several keys at once. */
import type { ComputeSchemas, Config } from "./schema.ts";
import { computeBlocks, engineBlockOf } from "./schema.ts";
import { formatDuration } from "./duration.ts";
import { describeSource, type Problem, type Source } from "./layers.ts";
import { closest } from "./suggest.ts";

/** What the configuration is loaded for. */
export type Role = "server" | "worker" | "dev" | "migrate" | "cli";

export interface CheckInput {
  /** The sections that are valid by themselves. */
  readonly config: Partial<Config>;
  readonly role: Role;
  readonly computeSchemas: ComputeSchemas;
  /** The source of a dotted key; null when only its default applies. */
  readonly sourceOf: (dottedKey: string) => Source | null;
}

/** Engine results must outlive the window in which a job may start, clocks that differ included. */
const RETENTION_PER_START = 2;

/** All violations; empty when the sections fit together. */
export function crossChecks(input: CheckInput): Problem[] {
  return [
    ...checkDatabase(input),
    ...checkController(input),
    ...checkEngineBlocks(input),
    ...checkWorkflow(input),
    ...checkEncryption(input),
    ...checkCompute(input),
  ];
}

function problem(input: CheckInput, key: string, reason: string): Problem {
  return { source: input.sourceOf(key), key, reason };
}

function checkDatabase(input: CheckInput): Problem[] {
  const { config, role, sourceOf } = input;
  if (role === "worker") return [];
  const url = sourceOf("database.url");
  // A printed configuration names every default, so a port counts only where it says something else.
  const parts = ["host", "user", "password", "database", ...(config.database?.port === 5432 ? [] : ["port"])];
  const given = parts.map((key) => `database.${key}`).filter((key) => sourceOf(key) !== null);
  if (url !== null) {
    const reason = `cannot be combined with database.url (${describeSource(url)}): keep one of them`;
    return given.map((key) => problem(input, key, reason));
  }
  if (given.length > 0 && sourceOf("database.host") === null) {
    return [problem(input, given[0] ?? "", "needs database.host")];
  }
  const needed = role === "server" || role === "migrate";
  if (needed && given.length === 0 && config.database !== undefined) {
    const reason =
      "is required: set it (or database.host), or use `landlord dev`, which starts its own PostgreSQL";
    return [problem(input, "database.url", reason)];
  }
  return [];
}

function checkController(input: CheckInput): Problem[] {
  const controller = input.config.controller;
  if (controller === undefined) return [];
  const problems: Problem[] = [];
  const notBelow = (
    high: "backoff_max" | "status_poll_max_interval",
    low: "backoff_initial" | "status_poll_interval",
  ) => {
    if (controller[high] >= controller[low]) return;
    const reason = `must not be less than controller.${low} (${formatDuration(controller[low])})`;
    problems.push(problem(input, `controller.${high}`, reason));
  };
  const least = 3 * controller.workflow_trigger_timeout;
  if (controller.lease_duration < least) {
    const key =
      input.sourceOf("controller.lease_duration") === null ? "workflow_trigger_timeout" : "lease_duration";
    const reason =
      "lease_duration must be at least three times workflow_trigger_timeout, so that no call outlives the lease: " +
      `raise lease_duration to ${formatDuration(least)} or lower workflow_trigger_timeout`;
    problems.push(problem(input, `controller.${key}`, reason));
  }
  const retention = input.config.workflow?.restate.result_retention;
  if (retention !== undefined && retention < RETENTION_PER_START * controller.start_timeout) {
    const reason = `must be at least ${RETENTION_PER_START} times controller.start_timeout (${formatDuration(controller.start_timeout)}): a job that is submitted late must still find its id taken`;
    problems.push(problem(input, "workflow.restate.result_retention", reason));
  }
  notBelow("backoff_max", "backoff_initial");
  notBelow("status_poll_max_interval", "status_poll_interval");
  return problems;
}

/** An engine without defaults for everything is known by its block. */
function checkEngineBlocks(input: CheckInput): Problem[] {
  const { controller, worker, workflow } = input.config;
  if (workflow === undefined || input.role === "cli" || input.role === "migrate") return [];
  const chosen =
    input.role !== "worker"
      ? { key: "controller.workflow_provider", engine: controller?.workflow_provider }
      : { key: "worker.engine", engine: worker?.engine };
  const engine = chosen.engine ?? workflow.default_provider;
  const block = engineBlockOf(engine);
  const blocks: Readonly<Record<string, unknown>> = { ...workflow };
  if (blocks[block] !== undefined) return [];
  const key = chosen.engine === undefined ? "workflow.default_provider" : chosen.key;
  return [problem(input, key, `the engine ${engine} is not configured: add the block workflow.${block}`)];
}

function checkWorkflow(input: CheckInput): Problem[] {
  const { controller, workflow } = input.config;
  if (input.role !== "server" || controller === undefined || workflow === undefined) return [];
  const engine = controller.workflow_provider ?? workflow.default_provider;
  if (engine !== "mock" || workflow.allow_mock) return [];
  const key =
    controller.workflow_provider === undefined ? "workflow.default_provider" : "controller.workflow_provider";
  return [
    problem(
      input,
      key,
      "the mock engine forgets everything; use restate, or set workflow.allow_mock to true",
    ),
  ];
}

function checkEncryption(input: CheckInput): Problem[] {
  const { workflow } = input.config;
  if (workflow === undefined) return [];
  const { encryption_key: key, encryption_keys: keys, require_encryption: required } = workflow;
  if (key !== undefined && keys !== undefined) {
    const reason = "cannot be combined with workflow.encryption_keys: put the key into that list";
    return [problem(input, "workflow.encryption_key", reason)];
  }
  if (!required || key !== undefined || keys !== undefined) return [];
  return [problem(input, "workflow.require_encryption", "needs workflow.encryption_key")];
}

function checkCompute(input: CheckInput): Problem[] {
  const { compute } = input.config;
  const name = compute?.default_provider;
  if (compute === undefined || name === undefined) return [];
  const known = Object.keys(input.computeSchemas);
  if (!known.includes(name)) {
    const meant = closest(name, known);
    const reason = `unknown provider${meant === null ? "" : `; did you mean ${meant}?`} Known are: ${known.join(", ")}`;
    return [problem(input, "compute.default_provider", reason)];
  }
  if (input.role === "server" && !computeBlocks(compute).has(name)) {
    const reason = `is not enabled: add the block compute.${name} (an empty one will do)`;
    return [problem(input, "compute.default_provider", reason)];
  }
  return [];
}
