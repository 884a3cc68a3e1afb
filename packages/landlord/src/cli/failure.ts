/** What a failure looks like on the terminal, and which exit code it has. */
import { ConnectionError, LandlordApiError, TenantFailedError, WaitTimeoutError } from "@landlord/client";
import { ConfigError } from "../config/load.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { DeclinedError, SeveralFailures } from "./command.ts";
import { UsageError } from "./input.ts";
import { paint, printable } from "./output.ts";

export const EXIT_CODES = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  unreachable: 5,
  waitTimeout: 6,
  tenantFailed: 7,
  /** `diff` only, where 1 says that something differs. */
  diffFailed: 8,
} as const;

/** The code of what wraps a failure of `diff`. */
export const DIFF_FAILED = "diff_failed";

/** Answered by a proxy in front of a server that is not there, or by one that is starting or stopping. */
const UNAVAILABLE_STATUSES: readonly number[] = [502, 503, 504];

/** The server understood the request, and what it says is not acceptable. */
const USAGE_STATUSES: readonly number[] = [400, 413, 415, 422];

export function exitCodeOf(error: unknown): number {
  if (error instanceof SeveralFailures) return commonExitCode(error);
  if (error instanceof LandlordError && error.code === DIFF_FAILED) return EXIT_CODES.diffFailed;
  if (error instanceof UsageError || error instanceof ConfigError) return EXIT_CODES.usage;
  if (error instanceof ConnectionError) return EXIT_CODES.unreachable;
  if (error instanceof WaitTimeoutError) return EXIT_CODES.waitTimeout;
  if (error instanceof TenantFailedError) return EXIT_CODES.tenantFailed;
  if (!(error instanceof LandlordApiError)) return EXIT_CODES.failure;
  if (isStranger(error)) return EXIT_CODES.unreachable;
  if (USAGE_STATUSES.includes(error.status)) return EXIT_CODES.usage;
  if (error.status === 404) return EXIT_CODES.notFound;
  if (error.status === 409 || error.status === 412) return EXIT_CODES.conflict;
  return UNAVAILABLE_STATUSES.includes(error.status) ? EXIT_CODES.unreachable : EXIT_CODES.failure;
}

/** The code that all of them have, or that of a failure. */
function commonExitCode({ failures, exitCode }: SeveralFailures): number {
  if (exitCode !== null) return exitCode;
  const [first, ...others] = new Set(failures.map(({ error }) => exitCodeOf(error)));
  return first === undefined || others.length > 0 ? EXIT_CODES.failure : first;
}

const FAILURES_SHOWN = 50;

function detailsOf(error: unknown): readonly string[] {
  if (error instanceof SeveralFailures) {
    const shown = error.failures.slice(0, FAILURES_SHOWN).flatMap((failure) => {
      const { what } = failure;
      return [`${what}: ${messageOf(failure.error)}`, ...detailsOf(failure.error).map((line) => `  ${line}`)];
    });
    const more = error.failures.length - FAILURES_SHOWN;
    return more > 0 ? [...shown, `and ${more} more`] : shown;
  }
  if (error instanceof LandlordApiError) {
    const request = error.requestId === null ? "" : `, request id: ${error.requestId}`;
    return [...error.details, `code: ${error.code}${request}`];
  }
  if (!(error instanceof LandlordError)) return [];
  return error.code === DIFF_FAILED ? detailsOf(error.cause) : error.details;
}

/** The error, its details and the next step, one line each, escaped. */
export function renderFailure(error: unknown, colour: boolean): string {
  const details = detailsOf(error);
  const hint = hintOf(error);
  const lines = [
    `${paint("error:", "red", colour)} ${printable(messageOf(error))}`,
    ...details.map((detail) => `  ${printable(detail)}`),
    ...(hint === null ? [] : [`${paint("hint:", "yellow", colour)} ${printable(hint)}`]),
  ];
  return `${lines.join("\n")}\n`;
}

function hintOf(error: unknown): string | null {
  if (error instanceof DeclinedError) return null;
  if (error instanceof SeveralFailures) return hintOf(error.failures[0]?.error);
  if (error instanceof LandlordError && error.code === DIFF_FAILED) return hintOf(error.cause);
  if (error instanceof UsageError) return "run the command with --help to see how it is used";
  if (error instanceof ConfigError)
    return "`landlord config print` shows the configuration and where it comes from";
  if (error instanceof ConnectionError) {
    return "start a server with `landlord dev`, or name another with --server, LANDLORD_API_URL or `landlord login`; `landlord doctor` looks closer";
  }
  if (error instanceof TenantFailedError) {
    return `correct its configuration with \`landlord set ${error.tenant.name} --config …\`; see \`landlord operations ${error.tenant.name}\``;
  }
  if (error instanceof WaitTimeoutError) {
    const name = error.tenant?.name ?? "NAME";
    if (error.tenant?.paused === true)
      return `it is paused, and nothing is started until it is resumed: \`landlord resume ${name}\``;
    return `Landlord goes on trying; look again with \`landlord get ${name}\`, or wait longer with --timeout`;
  }
  return error instanceof LandlordApiError ? apiHint(error) : null;
}

/** What answered speaks HTTP, and none of Landlord's problems. */
function isStranger({ code }: LandlordApiError): boolean {
  return code.startsWith("http_4") || code === "unexpected_answer";
}

function apiHint(error: LandlordApiError): string | null {
  if (isStranger(error))
    return "that is no Landlord API: check --server, LANDLORD_API_URL and `landlord context list`; `landlord doctor` looks closer";
  switch (error.status) {
    case 400:
      return error.code === "invalid_compute_config"
        ? "`landlord compute --provider NAME` shows what a configuration may hold"
        : "run the command with --help to see how it is used";
    case 401:
    case 403:
      return "`landlord whoami` shows who you are; log in with `landlord login URL`, or set LANDLORD_API_TOKEN";
    case 404:
      if (error.code === "generation_not_found")
        return "`landlord generations NAME` lists those that are kept";
      return "`landlord list --all` shows every tenant";
    case 409:
      return conflictHint(error.code);
    case 412:
      if (error.code === "plan_stale")
        return "nothing was changed there: run the command again, and look at the new plan";
      return "it was changed meanwhile: look at it with `landlord get`, then try again";
    case 503:
      if (error.code === "no_worker")
        return "start a worker with `landlord worker`; `landlord apply --no-plan` does without a plan";
      return "try again; `landlord status` and `landlord doctor` show what is missing";
    default:
      return error.status >= 500 ? "try again; the server's log tells more under the request id" : null;
  }
}

function conflictHint(code: string): string {
  if (code === "tenant_deleting") return "wait until it is gone (`landlord delete … --wait`), then try again";
  if (code === "tenant_archived") return "`landlord restore …` brings it back; then change it";
  if (code === "name_taken")
    return "change it with `landlord set` or `landlord apply`; `landlord list --all` shows archived tenants too";
  if (code === "immutable_field") return "create a new tenant instead, and delete this one";
  return "look at it with `landlord get`; change an existing tenant with `landlord set`";
}
