/** Mock compute: its world is the backend, and each method is one call to it. */
import { ComputeError, type ComputeProvider } from "../../../src/compute/provider.ts";
import { createMockComputeProvider, mockComputeFactory } from "../../../src/compute/mock/provider.ts";
import { MockWorld } from "../../../src/compute/mock/world.ts";
import { messageOf } from "../../../src/domain/errors.ts";
import type { ComputeHarness, ConformanceSubject } from "../../../src/plugin/testing.ts";
import { Faults } from "../../../src/plugin/testing.ts";

/** The provider with its world at the far end of calls that may fail. */
function atDistance(provider: ComputeProvider, faults: Faults): ComputeProvider {
  const call = <T>(name: string, perform: () => Promise<T>, isEffect = true): Promise<T> =>
    faults.call(name, perform, isEffect).catch((error: unknown) => {
      if (error instanceof ComputeError) throw error;
      throw new ComputeError("compute_unreachable", messageOf(error), { retryable: true, cause: error });
    });
  return {
    name: provider.name,
    scopeOf: (config) => provider.scopeOf(config),
    observe: (refs, signal) => call("observe", () => provider.observe(refs, signal), false),
    plan: (spec, observation) => provider.plan(spec, observation),
    apply: (spec, options) => call("apply", () => provider.apply(spec, options)),
    destroy: (ref, options) => call("destroy", () => provider.destroy(ref, options)),
    list: (instanceId, signal) => call("list", () => provider.list(instanceId, signal), false),
    logs: (ref, options) => call("logs", () => provider.logs(ref, options), false),
  };
}

function openMockHarness(
  wrap: (provider: ComputeProvider, world: MockWorld) => ComputeProvider = (provider) => provider,
): ComputeHarness {
  const world = new MockWorld();
  const provider = (): ComputeProvider => wrap(createMockComputeProvider({}, { world }), world);
  return {
    factory: mockComputeFactory,
    engineConfig: {},
    open: (faults) => Promise.resolve(atDistance(provider(), faults)),
    openUnreachable: () =>
      Promise.resolve(wrap(atDistance(provider(), new Faults({ kind: "crash", after: 0 })), world)),
    config: (variant) => ({ size: variant }),
    unhealthyConfig: null,
    rejectedConfig: { fail: "terminal" },
    invalidConfig: { fail: "maybe" },
    loggedText: (variant) => `generation ${variant} started`,
    census: (owner) => {
      const compute = world.find(owner)?.compute ?? null;
      return Promise.resolve(compute === null ? [] : [compute.generation]);
    },
    endWorkload: null,
    convergeTimeoutMs: 5_000,
    parallel: 8,
    close: () => Promise.resolve(),
  };
}

export const mockCompute: ConformanceSubject<ComputeHarness> = {
  name: "mock",
  gaps: { "restarts-what-ended": "compute in memory never ends by itself" },
  open: () => Promise.resolve(openMockHarness()),
};
