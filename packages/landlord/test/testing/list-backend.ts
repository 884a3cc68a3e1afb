/**
 * A backend that believes everything it is told: it starts a set of compute for every call, the same one twice if asked
 * twice. The provider on top has to bring all the care; each flaw takes one piece of it away.
 */
import { randomUUID } from "node:crypto";
import { mockComputeFactory } from "../../src/compute/mock/provider.ts";
import {
  ComputeError,
  type ApplyResult,
  type ComputeProvider,
  type ComputeRef,
  type ComputeSpec,
  type EffectOptions,
  type Observation,
  type OwnedResource,
  type Owner,
  type PlannedChange,
} from "../../src/compute/provider.ts";
import { messageOf } from "../../src/domain/errors.ts";
import type { JsonObject } from "../../src/domain/json.ts";
import { Faults, type ComputeHarness } from "../../src/plugin/testing.ts";

export type Flaw =
  | "forgets on restart"
  | "reports success when unreachable"
  | "takes unreachable for absent"
  | "ignores the fence"
  | "forgets deletions"
  | "is not idempotent"
  | "leaks on failed start"
  | "leaves the old one"
  | "calls failures final"
  | "lists too much"
  | "deletes the neighbour";

interface SetOfCompute extends Owner {
  readonly id: string;
  readonly generation: number;
  readonly configHash: string;
  readonly config: JsonObject;
}

class Backend {
  sets: SetOfCompute[] = [];
  readonly fences = new Map<string, { generation: number; configHash: string | null }>();
}

const SCOPE = "list:1";
const keyOf = ({ instanceId, tenantId }: Owner): string => `${instanceId}/${tenantId}`;

class ListProvider implements ComputeProvider {
  readonly name = "list";
  readonly #backend: Backend;
  readonly #faults: Faults;
  readonly #flaw: Flaw | null;
  /** What this process has seen: a provider must not need it. */
  readonly #remembered = new Set<string>();

  constructor(backend: Backend, faults: Faults, flaw: Flaw | null) {
    this.#backend = backend;
    this.#faults = faults;
    this.#flaw = flaw;
  }

  scopeOf(): Promise<string> {
    return Promise.resolve(SCOPE);
  }

  async observe(refs: readonly ComputeRef[]): Promise<readonly Observation[]> {
    return Promise.all(refs.map((ref) => this.#look(ref)));
  }

  plan(spec: ComputeSpec, { presence, configHash, config }: Observation): Promise<readonly PlannedChange[]> {
    const change = { resource: "set", fields: ["/size"], downtime: false } as const;
    if (presence !== "present") return Promise.resolve([{ ...change, action: "create" }]);
    const isSame = configHash === spec.configHash && config !== null;
    return Promise.resolve([{ ...change, action: isSame ? "none" : "replace" }]);
  }

  async apply(spec: ComputeSpec, { signal }: EffectOptions): Promise<ApplyResult> {
    if (signal.aborted) throw new ComputeError("aborted", "It was cancelled.", { retryable: true });
    try {
      return await this.#apply(spec);
    } catch (error) {
      if (this.#flaw !== "reports success when unreachable" || error instanceof ComputeError) {
        throw this.#asComputeError(error);
      }
      return { kind: "applied", observation: presentOf({ ...spec, id: "assumed" }) };
    }
  }

  async #apply(spec: ComputeSpec): Promise<ApplyResult> {
    const fence = await this.#call("read fence", () => this.#backend.fences.get(keyOf(spec)), false);
    if (fence !== undefined && this.#flaw !== "ignores the fence") {
      const isOther = fence.generation === spec.generation && fence.configHash !== spec.configHash;
      if (fence.generation > spec.generation || isOther)
        return { kind: "stale", generation: fence.generation };
    }
    const failure = this.#failureOf(spec);
    if (failure !== null && this.#flaw !== "leaks on failed start") throw failure;
    await this.#call("write fence", () => this.#fence(spec, spec.configHash));
    await this.#call("start", () => {
      const isThere = this.#setsOf(spec).some(({ generation }) => generation === spec.generation);
      if (isThere && this.#flaw !== "is not idempotent" && failure === null) return;
      this.#backend.sets.push({ ...spec, id: randomUUID() });
    });
    if (failure !== null) throw failure;
    if (this.#flaw !== "leaves the old one") {
      await this.#call("remove the old", () =>
        this.#remove(spec, ({ generation }) => generation < spec.generation),
      );
    }
    this.#remembered.add(keyOf(spec));
    return { kind: "applied", observation: await this.#look({ ...spec, scopes: [] }) };
  }

  async destroy(ref: ComputeRef & { readonly generation: number }): Promise<Observation> {
    try {
      if (this.#flaw !== "forgets deletions") {
        await this.#call("write fence", () => this.#fence(ref, null));
      }
      await this.#call("remove", () => this.#remove(ref, ({ generation }) => generation <= ref.generation));
    } catch (error) {
      if (this.#flaw !== "reports success when unreachable") throw this.#asComputeError(error);
      return ABSENT;
    }
    return this.#look(ref);
  }

  async list(instanceId: string): Promise<readonly OwnedResource[]> {
    const sets = await this.#call("list", () => this.#backend.sets, false).catch((error: unknown) => {
      throw this.#asComputeError(error);
    });
    return sets
      .filter((set) => set.instanceId === instanceId || this.#flaw === "lists too much")
      .map(({ id, ...set }) => ({ ...set, scope: SCOPE, resourceIds: { id } }));
  }

  async logs(ref: ComputeRef, { tailBytes }: { readonly tailBytes: number }): Promise<string> {
    const sets = await this.#call("logs", () => this.#setsOf(ref), false);
    return sets.length === 0 ? "" : "a line of output".slice(-tailBytes);
  }

  async #look(ref: ComputeRef): Promise<Observation> {
    if (ref.scopes.some((scope) => scope !== SCOPE))
      return { ...ABSENT, presence: "unknown", health: "unknown" };
    if (this.#flaw === "forgets on restart" && !this.#remembered.has(keyOf(ref))) return ABSENT;
    const sets = await this.#call("look", () => this.#setsOf(ref), false).catch((error: unknown) => {
      if (this.#flaw === "takes unreachable for absent") return [];
      throw this.#asComputeError(error);
    });
    const newest = [...sets].sort((a, b) => b.generation - a.generation)[0];
    return newest === undefined ? ABSENT : presentOf(newest);
  }

  #failureOf({ config }: ComputeSpec): ComputeError | null {
    const retryable = this.#flaw === "calls failures final";
    return config["fail"] === undefined
      ? null
      : new ComputeError("told_to_fail", "It was told to fail.", { retryable });
  }

  /** One call to the backend, which answers at once. */
  #call<T>(name: string, perform: () => T, isEffect = true): Promise<T> {
    return this.#faults.call(name, () => Promise.resolve(perform()), isEffect);
  }

  #asComputeError(error: unknown): ComputeError {
    if (error instanceof ComputeError) return error;
    return new ComputeError("backend_unreachable", messageOf(error), { retryable: true, cause: error });
  }

  #fence(to: Owner & { readonly generation: number }, configHash: string | null): void {
    const known = this.#backend.fences.get(keyOf(to));
    if (known !== undefined && known.generation > to.generation) return;
    this.#backend.fences.set(keyOf(to), { generation: to.generation, configHash });
  }

  #setsOf(owner: Owner): SetOfCompute[] {
    return this.#backend.sets.filter((set) => keyOf(set) === keyOf(owner));
  }

  #remove(owner: Owner, isDoomed: (set: SetOfCompute) => boolean): void {
    const isTheirs = (set: SetOfCompute): boolean =>
      this.#flaw === "deletes the neighbour"
        ? set.instanceId === owner.instanceId
        : keyOf(set) === keyOf(owner);
    this.#backend.sets = this.#backend.sets.filter((set) => !(isTheirs(set) && isDoomed(set)));
  }
}

const ABSENT: Observation = {
  presence: "absent",
  generation: null,
  configHash: null,
  health: "absent",
  message: null,
  config: null,
  resourceIds: {},
  endpoints: [],
  scope: SCOPE,
};

function presentOf({ id, generation, configHash, config }: Omit<SetOfCompute, keyof Owner>): Observation {
  return {
    ...ABSENT,
    presence: "present",
    health: "healthy",
    generation,
    configHash,
    config,
    resourceIds: { id },
  };
}

export function openListHarness(flaw: Flaw | null): ComputeHarness {
  const backend = new Backend();
  return {
    factory: { ...mockComputeFactory },
    engineConfig: {},
    open: (faults) => Promise.resolve(new ListProvider(backend, faults, flaw)),
    openUnreachable: () =>
      Promise.resolve(new ListProvider(backend, new Faults({ kind: "crash", after: 0 }), flaw)),
    config: (variant) => ({ size: variant }),
    unhealthyConfig: null,
    rejectedConfig: { fail: "terminal" },
    invalidConfig: { fail: "maybe" },
    loggedText: () => "a line of output",
    census: (owner) =>
      Promise.resolve(
        backend.sets.filter((set) => keyOf(set) === keyOf(owner)).map(({ generation }) => generation),
      ),
    endWorkload: null,
    convergeTimeoutMs: 400,
    parallel: 4,
    close: () => Promise.resolve(),
  };
}
