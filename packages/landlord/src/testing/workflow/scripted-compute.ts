/** A compute provider whose every move is the test's: it proves the engine's side, not a provider. */
import {
  ComputeError,
  type ApplyResult,
  type ComputeProvider,
  type ComputeSpec,
  type Observation,
} from "../../compute/provider.ts";

export function healthyObservation(change: Partial<Observation> = {}): Observation {
  return {
    presence: "present",
    generation: 1,
    configHash: "hash",
    health: "healthy",
    message: null,
    config: {},
    resourceIds: { id: "1" },
    endpoints: [],
    scope: "scripted",
    ...change,
  };
}

export interface ScriptedCompute extends ComputeProvider {
  /** Specs given to apply, in order. */
  readonly applied: ComputeSpec[];
  /** True once the signal of a running apply was aborted. */
  aborted(): boolean;
}

/**
 * `apply` is asked for each call, counted from 1; without it compute is healthy at once. Whatever it says is of the
 * generation that was applied.
 */
export function scriptedCompute(
  apply: (call: number, signal: AbortSignal, spec: ComputeSpec) => Promise<Observation> | Observation = () =>
    healthyObservation(),
): ScriptedCompute {
  const applied: ComputeSpec[] = [];
  let aborted = false;
  const absent = healthyObservation({
    presence: "absent",
    health: "absent",
    generation: null,
    resourceIds: {},
  });
  return {
    name: "scripted",
    applied,
    scopeOf: () => Promise.resolve("scripted"),
    aborted: () => aborted,
    observe: (refs) => Promise.resolve(refs.map(() => absent)),
    plan: () => Promise.resolve([]),
    async apply(spec, { signal }): Promise<ApplyResult> {
      applied.push(spec);
      signal.addEventListener("abort", () => (aborted = true));
      const observation = await apply(applied.length, signal, spec);
      const { generation, configHash } = spec;
      return { kind: "applied", observation: { ...observation, generation, configHash } };
    },
    destroy: () => Promise.resolve(absent),
    list: () =>
      Promise.resolve([
        { instanceId: "instance", tenantId: "t", generation: 1, scope: "scripted", resourceIds: {} },
      ]),
    logs: () => Promise.resolve("a line of output\n"),
  };
}

export function transient(message: string): ComputeError {
  return new ComputeError("compute_unreachable", message, { retryable: true });
}
