/** What Docker says when it refuses, as errors with a code. */
import { messageOf } from "../../domain/errors.ts";
import { ComputeError } from "../provider.ts";

/** An answer of the daemon that is no success. */
export class DockerFailure extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, words: string, cause?: unknown) {
    super(words, { cause });
    this.name = "DockerFailure";
    this.statusCode = statusCode;
  }
}

export function hasStatus(error: unknown, ...statusCodes: readonly number[]): boolean {
  return error instanceof DockerFailure && statusCodes.includes(error.statusCode);
}

/** The error of work that was given up because its execution was cancelled. The next call goes on from there. */
export function aborted(): ComputeError {
  return new ComputeError("aborted", "The execution was cancelled before the provider was done.", {
    retryable: true,
  });
}

export function unreachable(host: string, cause: unknown): ComputeError {
  return new ComputeError(
    "compute_unreachable",
    `The Docker daemon at ${host} does not answer: ${messageOf(cause)}. Check that it runs and that the worker may use it.`,
    { retryable: true, providerError: messageOf(cause), cause },
  );
}

export function contended(what: string): ComputeError {
  return new ComputeError("contended", `${what} It is tried again.`, { retryable: true });
}

interface Rule {
  readonly pattern: RegExp;
  readonly code: string;
  readonly retryable: boolean;
  readonly message: string;
}

/** The first that matches counts. */
const START_RULES: readonly Rule[] = [
  {
    pattern: /cannot mkdir/i,
    code: "working_dir_invalid",
    retryable: false,
    message: "compute_config.working_dir cannot be a folder in this image. Correct it.",
  },
  {
    pattern: /port is already allocated|address already in use|ports are not available/i,
    code: "port_in_use",
    retryable: true,
    message:
      "A port that compute_config.ports fixes is taken on the daemon's host. Free it, or choose another.",
  },
  {
    pattern:
      /mount config|mount source|bind source path|error mounting|not a directory: unknown|invalid mount|failed to mount/i,
    code: "mount_invalid",
    retryable: false,
    message: "A volume of compute_config.volumes cannot be mounted. Correct source and target.",
  },
  {
    pattern:
      /executable file not found|no such file or directory|permission denied|exec format error|is a directory/i,
    code: "command_invalid",
    retryable: false,
    message: "The container's program cannot be run. Correct command, entrypoint or image.",
  },
  {
    pattern: /unable to find (?:user|group)|no matching entries in passwd/i,
    code: "user_invalid",
    retryable: false,
    message: "The user of compute_config.user does not exist in the image.",
  },
  {
    pattern: /No such image|reference does not exist/i,
    code: "image_not_found",
    retryable: false,
    message: "The image is not on the daemon. Correct image, or choose another pull_policy.",
  },
  {
    pattern: /network \S+ not found/i,
    code: "network_not_found",
    retryable: true,
    message: "The network does not exist on the daemon. Create it, or change network_mode.",
  },
  {
    pattern: /plugin \S+ not found/i,
    code: "driver_not_found",
    retryable: true,
    message:
      "A driver is not installed on the daemon's host. Install it, or change the operator's configuration.",
  },
];

/** A registry that says no, in the words of registries and of the daemon. */
const PULL_RULES: readonly Rule[] = [
  {
    pattern: /toomanyrequests|rate limit|too many requests/i,
    code: "registry_throttled",
    retryable: true,
    message: "The registry limits the number of pulls. It is tried again; registry_auth raises the limit.",
  },
  {
    pattern:
      /manifest unknown|manifest for .* not found|repository .* not found|name unknown|does not exist|no matching manifest/i,
    code: "image_not_found",
    retryable: false,
    message: "The registry has no such image, or shows it to no one without registry_auth.",
  },
  {
    pattern:
      /unauthorized|authentication required|no basic auth|denied|incorrect username or password|forbidden/i,
    code: "image_unauthorized",
    retryable: false,
    message:
      "The registry does not give the image to this worker. Correct registry_auth, or its entry on the worker.",
  },
  {
    pattern: /invalid reference|invalid tag|invalid repository/i,
    code: "image_invalid",
    retryable: false,
    message: "compute_config.image is not an image reference.",
  },
];

function matched(rules: readonly Rule[], error: unknown): ComputeError | null {
  const words = messageOf(error);
  const rule = rules.find(({ pattern }) => pattern.test(words));
  if (rule === undefined) return null;
  return new ComputeError(rule.code, `${rule.message} Docker says: ${clip(words)}`, {
    retryable: rule.retryable,
    providerError: words,
    cause: error,
  });
}

/** The error of a create or a start that the daemon refused. */
export function startError(error: unknown): unknown {
  if (!(error instanceof DockerFailure)) return error;
  const known = matched(START_RULES, error);
  if (known !== null) return known;
  if (error.statusCode !== 400) return error;
  return new ComputeError(
    "config_refused",
    `Docker refuses the container: ${clip(error.message)}. Correct compute_config.`,
    { retryable: false, providerError: error.message, cause: error },
  );
}

/** The error of a pull. What is not known to be final is tried again: registries and networks come back. */
export function pullError(image: string, error: unknown): unknown {
  if (error instanceof ComputeError) return error;
  const known = matched(PULL_RULES, error);
  if (known !== null) return known;
  const words = messageOf(error);
  return new ComputeError(
    "registry_unreachable",
    `The image ${image} could not be pulled: ${clip(words)}. It is tried again.`,
    { retryable: true, providerError: words, cause: error },
  );
}

/** Runs `work`; whatever it throws that is no ComputeError becomes a retryable `docker_failed`. */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ComputeError) throw error;
    const words = messageOf(error);
    throw new ComputeError(
      "docker_failed",
      `Docker did not do what was needed: ${clip(words)}. It is tried again.`,
      { retryable: true, providerError: words, cause: error },
    );
  }
}

function clip(words: string): string {
  return words.length <= 1_000 ? words : `${words.slice(0, 1_000)} …`;
}
