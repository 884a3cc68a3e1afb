/** From a client's words to a desired state: which provider, which config, and whether it is acceptable. */
import { configHash, isJsonObject, withDefaults, type JsonObject } from "../domain/json.ts";
import { restoreRedacted } from "../domain/redact.ts";
import { COMPUTE_CONFIG_LIMIT_BYTES } from "../contract/tenant.ts";
import type { ComputeCatalog, ComputeEngine } from "./dependencies.ts";
import { HttpError } from "./problem.ts";

/** The key by which a config names its provider, and what older clients call it. */
const PROVIDER_KEY = "compute_provider";
const PROVIDER_ALIAS = "compute_provider_type";

export interface ProviderHints {
  readonly computeProvider: string | undefined;
  readonly config: JsonObject;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** The provider of an existing tenant, which it keeps; then labels and annotations do not count. */
  readonly present: string | null;
}

/** The first hint wins: body, config, alias, label, annotation, the tenant's own, the only one configured. */
export function resolveProvider(hints: ProviderHints, catalog: ComputeCatalog): string {
  const fromConfig = hints.config[PROVIDER_KEY] ?? hints.config[PROVIDER_ALIAS];
  if (fromConfig !== undefined && typeof fromConfig !== "string") {
    throw new HttpError(400, "invalid_request", "The compute provider must be a string.", [
      `/compute_config/${PROVIDER_KEY}: must be a string`,
    ]);
  }
  const atCreation =
    hints.present === null ? (hints.labels[PROVIDER_KEY] ?? hints.annotations[PROVIDER_KEY]) : undefined;
  const name = hints.computeProvider ?? fromConfig ?? atCreation ?? hints.present ?? catalog.defaultProvider;
  const choices = `Configured: ${catalog.names().join(", ") || "none"}.`;
  if (name === null) {
    throw new HttpError(
      400,
      "compute_provider_required",
      `Name a compute provider in compute_provider. ${choices}`,
      [`/compute_provider: is required; ${choices}`],
    );
  }
  if (hints.present !== null && name !== hints.present) {
    throw new HttpError(
      409,
      "immutable_field",
      "The compute provider cannot change: its resources would be stranded.",
      [`/compute_provider: is ${hints.present} and stays so; create another tenant for ${name}`],
    );
  }
  if (catalog.get(name) === null) {
    throw new HttpError(
      400,
      "unknown_compute_provider",
      `There is no compute provider "${name}". ${choices}`,
      [`/compute_provider: ${name} is not configured`],
    );
  }
  return name;
}

export interface DesiredState {
  readonly computeProvider: string;
  readonly config: JsonObject;
  readonly configHash: string;
}

/**
 * Merges defaults, freezes the provider into the config, and validates.
 *
 * @param stored the present config of an existing tenant: secrets that were shown redacted are taken from it
 */
export function freezeDesiredState(
  written: JsonObject,
  computeProvider: string,
  catalog: ComputeCatalog,
  stored: JsonObject | null,
): DesiredState {
  const engine = engineOf(catalog, computeProvider);
  const { description } = engine;
  const restored = restoreRedacted(written, stored);
  if (restored.unknown.length > 0) {
    throw invalidConfig(
      restored.unknown.map(({ pointer }) => ({
        pointer,
        message: "is a redaction marker, and no stored value is behind it",
      })),
    );
  }
  const { [PROVIDER_ALIAS]: _alias, [PROVIDER_KEY]: _provider, ...own } = restored.value as JsonObject;
  const merged = withDefaults(own, description.configDefaults ?? {});
  const config: JsonObject = { ...merged, [PROVIDER_KEY]: computeProvider };
  if (Buffer.byteLength(JSON.stringify(config)) > COMPUTE_CONFIG_LIMIT_BYTES) {
    throw invalidConfig([
      { pointer: "", message: `is larger than ${COMPUTE_CONFIG_LIMIT_BYTES} bytes with defaults` },
    ]);
  }
  const problems = description.validateConfig(config);
  if (problems.length > 0) throw invalidConfig(problems);
  if (stored !== null) refuseMoves(engine, config, stored);
  return { computeProvider, config, configHash: configHash(config) };
}

/** For a configuration that was accepted before, as it is: what the provider accepts may have changed since. */
export function requireAcceptable(
  computeProvider: string,
  config: JsonObject,
  catalog: ComputeCatalog,
): void {
  const problems = engineOf(catalog, computeProvider).description.validateConfig(config);
  if (problems.length > 0) throw invalidConfig(problems);
}

function refuseMoves(engine: ComputeEngine, config: JsonObject, stored: JsonObject): void {
  const moved = engine.description.immutableKeys.filter(
    (key) => configHash({ value: config[key] ?? null }) !== configHash({ value: stored[key] ?? null }),
  );
  if (moved.length === 0) return;
  throw new HttpError(
    409,
    "immutable_field",
    "A tenant's placement cannot change: its resources would be stranded.",
    moved.map((key) => `/compute_config/${key}: cannot change after creation`),
  );
}

function engineOf(catalog: ComputeCatalog, name: string): ComputeEngine {
  const engine = catalog.get(name);
  if (engine === null) {
    throw new HttpError(
      409,
      "compute_provider_missing",
      `Compute provider "${name}" is no longer configured; configure it to change this tenant.`,
    );
  }
  return engine;
}

function invalidConfig(
  problems: readonly { readonly pointer: string; readonly message: string }[],
): HttpError {
  return new HttpError(
    400,
    "invalid_compute_config",
    "compute_config is not valid for its provider; the schema is at /v1/compute/config.",
    problems.map(({ pointer, message }) => `/compute_config${pointer === "/" ? "" : pointer}: ${message}`),
  );
}

/** Narrows what zod left loose; bodies are JSON by the time they are here. */
export function asJsonObject(value: unknown): JsonObject {
  if (!isJsonObject(value)) throw new HttpError(400, "invalid_request", "An object is expected.");
  return value;
}
