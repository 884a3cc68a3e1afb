/** Brings a tenant's image to the daemon. */
import { readFile } from "node:fs/promises";
import type { AuthConfig } from "dockerode";
import { isJsonObject } from "../../domain/json.ts";
import { messageOf } from "../../domain/errors.ts";
import { ComputeError, type EffectOptions } from "../provider.ts";
import type { EngineConfig } from "./engine-config.ts";
import type { Engine } from "./engine.ts";
import { aborted, pullError } from "./errors.ts";
import { type ImageReference, parseImage } from "./image-reference.ts";
import type { DockerConfig } from "./tenant-config.ts";

const PROGRESS_EVERY_MS = 1_000;
/** Layers of one image that are followed; more are pulled, and not counted. */
const MAX_LAYERS = 256;
/** An event of a pull is short; whoever sends more is no Docker daemon. */
const MAX_LINE_LENGTH = 1_048_576;

/**
 * Pulls the image when the config's pull policy asks for it.
 * @throws ComputeError `image_not_found`, `image_unauthorized`, `image_invalid` (final); `registry_unreachable`,
 * `registry_throttled`, `pull_timeout`, `registry_auth_unusable` (retryable)
 */
export async function ensureImage(
  engine: Engine,
  config: DockerConfig,
  settings: Pick<EngineConfig, "registryAuthFile" | "pullTimeoutMs">,
  { signal, onProgress }: Pick<EffectOptions, "signal" | "onProgress">,
): Promise<void> {
  const policy = config.pull_policy ?? "missing";
  if (policy !== "always" && (await engine.hasImage(config.image, signal))) return;
  if (policy === "never") {
    throw new ComputeError(
      "image_not_found",
      `The image ${config.image} is not on the daemon, and pull_policy is never. Load it, or change pull_policy.`,
      { retryable: false },
    );
  }
  const reference = parseImage(config.image);
  if (reference === null) {
    throw new ComputeError("image_invalid", "compute_config.image is not an image reference.", {
      retryable: false,
    });
  }
  const auth = await authOf(config, settings.registryAuthFile);
  const timeout = AbortSignal.timeout(settings.pullTimeoutMs);
  try {
    await pull(engine, reference, auth, { signal: AbortSignal.any([signal, timeout]), onProgress });
  } catch (error) {
    if (signal.aborted) throw aborted();
    if (timeout.aborted) {
      throw new ComputeError(
        "pull_timeout",
        `The image ${config.image} was not pulled within ${settings.pullTimeoutMs / 1_000} s (compute.docker.pull_timeout_seconds). What was pulled is kept, and it is tried again.`,
        { retryable: true, cause: error },
      );
    }
    throw pullError(config.image, error);
  }
}

async function pull(
  engine: Engine,
  image: ImageReference,
  auth: AuthConfig | null,
  { signal, onProgress }: { readonly signal: AbortSignal; readonly onProgress: EffectOptions["onProgress"] },
): Promise<void> {
  const progress = createPullProgress(`${image.name}:${image.tag}`, onProgress);
  const stream = await engine.pull(image, auth, signal);
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE_LENGTH) throw new Error("the daemon's answer to a pull has no end of line");
    for (const line of lines) if (line.trim() !== "") progress(JSON.parse(line) as PullEvent);
  }
  if (rest.trim() !== "") progress(JSON.parse(rest) as PullEvent);
  if (signal.aborted) throw aborted();
}

interface PullEvent {
  readonly id?: string;
  readonly status?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly error?: string;
  readonly errorDetail?: { readonly message?: string };
}

/** Adds up what the layers say; reports at most once in a second. Throws what the daemon reports as an error. */
function createPullProgress(
  image: string,
  onProgress: EffectOptions["onProgress"],
): (event: PullEvent) => void {
  const layers = new Map<
    string,
    { readonly current: number; readonly total: number; readonly done: boolean }
  >();
  let lastMs = Number.NEGATIVE_INFINITY;
  return (event) => {
    const failure = event.errorDetail?.message ?? event.error;
    if (failure !== undefined) throw new Error(failure);
    const { id, status = "" } = event;
    if (
      id === undefined ||
      id.length > 64 ||
      !/layer|download|extract|pull complete|already exists|verif|wait/i.test(status)
    )
      return;
    if (layers.size >= MAX_LAYERS && !layers.has(id)) return;
    const before = layers.get(id) ?? { current: 0, total: 0, done: false };
    const detail = /^downloading/i.test(status) ? event.progressDetail : undefined;
    layers.set(id, {
      current: detail?.current ?? before.current,
      total: detail?.total ?? before.total,
      done: before.done || /pull complete|already exists/i.test(status),
    });
    const all = [...layers.values()];
    const done = all.filter((layer) => layer.done).length;
    if (performance.now() - lastMs < PROGRESS_EVERY_MS && done < all.length) return;
    lastMs = performance.now();
    const sum = (pick: (layer: (typeof all)[number]) => number) =>
      all.reduce((total, layer) => total + pick(layer), 0);
    const megabytes = (bytes: number) => (bytes / 1_000_000).toFixed(1);
    const bytes = sum(({ total }) => total);
    const loaded =
      bytes === 0 ? "" : `, ${megabytes(sum(({ current }) => current))} of ${megabytes(bytes)} MB`;
    onProgress?.(`Pulling ${image}: ${done} of ${all.length} layers${loaded}`);
  };
}

/** The credentials that the config refers to. They are read for each pull, so they may be changed at any time. */
async function authOf(config: DockerConfig, file: string | null): Promise<AuthConfig | null> {
  const key = config.registry_auth;
  if (key === undefined) return null;
  const unusable = (why: string, cause?: unknown) =>
    new ComputeError(
      "registry_auth_unusable",
      `The credentials "${key}" (compute_config.registry_auth) cannot be used: ${why}. Correct the worker's registry_auth_file.`,
      { retryable: true, cause },
    );
  if (file === null) throw unusable("compute.docker.registry_auth_file is not set");
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    // The words of a parser would show a piece of the file.
    throw unusable(
      `${file} cannot be read as JSON${error instanceof SyntaxError ? "" : ` (${messageOf(error)})`}`,
    );
  }
  const auths = isJsonObject(parsed) ? parsed["auths"] : undefined;
  const entry = isJsonObject(auths) ? auths[key] : undefined;
  if (!isJsonObject(entry)) throw unusable(`${file} has no such key under auths`);
  const text = (name: string) => (typeof entry[name] === "string" ? entry[name] : "");
  const [user = "", ...password] = Buffer.from(text("auth"), "base64").toString("utf8").split(":");
  const auth = {
    username: text("username") || user,
    password: text("password") || password.join(":"),
    serveraddress: key,
    ...(text("identitytoken") !== "" && { identitytoken: text("identitytoken") }),
  };
  if (auth.username === "" && !("identitytoken" in auth))
    throw unusable(
      "the entry has neither auth, nor username and password, nor identitytoken; credential helpers are not used",
    );
  return auth;
}
