/**
 * `landlord/compute`: what an author of a compute provider imports, and what the package has to export. See
 * docs/write-a-provider.md.
 */
import type { ComputeProviderFactory } from "../compute/provider.ts";

/** Raised when the port changes in a way that a provider notices. */
export const COMPUTE_PORT_VERSION = 1;

/** The default export of a package that brings a compute provider. */
export interface ComputePlugin extends ComputeProviderFactory {
  readonly kind: "compute";
  /** The COMPUTE_PORT_VERSION that the package was written for, as a number of its own. */
  readonly portVersion: number;
}

export {
  ComputeError,
  type ApplyResult,
  type ComputeContext,
  type ComputeDescription,
  type ComputeProvider,
  type ComputeProviderFactory,
  type ComputeRef,
  type ComputeSpec,
  type ConfigProblem,
  type EffectOptions,
  type Observation,
  type OwnedResource,
  type Owner,
  type PlannedChange,
} from "../compute/provider.ts";
export { canonicalJson, configHash, type Json, type JsonObject } from "../domain/json.ts";
export type { Endpoint, Health } from "../domain/tenant.ts";
