/** What a compute provider brings to the kit. */
import type { ComputeProvider, ComputeProviderFactory, Owner } from "../../compute/provider.ts";
import type { JsonObject } from "../../domain/json.ts";
import type { ConformanceHarness } from "../behaviour.ts";
import type { Faults } from "../faults.ts";

/**
 * A world for one behaviour. Everything that the provider makes in it is gone after `close`. Configs are
 * compute_config, and must be valid, but for `invalidConfig`.
 */
export interface ComputeHarness extends ConformanceHarness {
  readonly factory: ComputeProviderFactory;
  /** The provider's block of the configuration; `defaults` is left to the kit. */
  readonly engineConfig: JsonObject;
  /** A provider as another worker would have it: same backend, no common memory. Its calls go through `faults`. */
  open(faults: Faults): Promise<ComputeProvider>;
  /** A provider that cannot reach the backend. */
  openUnreachable(): Promise<ComputeProvider>;
  /** A config that becomes healthy; every variant differs from the others in something that an apply must change. */
  config(variant: number): JsonObject;
  /** A config that starts and never becomes healthy; null where there is no such thing. */
  readonly unhealthyConfig: JsonObject | null;
  /** A valid config that apply has to refuse for good; null where whatever reality refuses may still be mended. */
  readonly rejectedConfig: JsonObject | null;
  /** What `validateConfig` finds fault with. */
  readonly invalidConfig: JsonObject;
  /** Text that the workload of this config writes to its output within a few seconds; null for no logs. */
  loggedText(variant: number): string | null;
  /**
   * What really runs for a tenant, asked of the backend and not of the provider: a generation for each set of compute
   * that is there, running or not.
   */
  census(owner: Owner): Promise<readonly number[]>;
  /** Ends the workload from outside, as a crash would; null where it cannot end by itself. */
  readonly endWorkload: ((owner: Owner) => Promise<void>) | null;
  /** The longest time that one convergence takes, in ms. */
  readonly convergeTimeoutMs: number;
  /** Tenants that are worked on at once where a behaviour needs many. */
  readonly parallel: number;
}
