/** What the mock provider believes to run. One world stands for one host: providers that share it share reality. */
import type { JsonObject } from "../../domain/json.ts";
import { ComputeError, type Owner } from "../provider.ts";

export interface MockCompute {
  readonly generation: number;
  readonly configHash: string;
  readonly config: JsonObject;
  /** Milliseconds of the provider's clock. */
  readonly startedAtMs: number;
}

export interface MockTenant {
  fence: {
    readonly generation: number;
    readonly kind: "apply" | "destroy";
    readonly configHash: string;
  } | null;
  compute: MockCompute | null;
  /** How often compute was started; tests read it. */
  starts: number;
}

/** An in-memory world of at most `capacity` tenants, destroyed ones included: their fences must stay. */
export class MockWorld {
  readonly #tenants = new Map<string, MockTenant>();
  readonly #capacity: number;

  constructor(capacity = 200_000) {
    this.#capacity = capacity;
  }

  /** The tenant, or null when nothing was ever done for it. */
  find(owner: Owner): MockTenant | null {
    return this.#tenants.get(keyOf(owner)) ?? null;
  }

  /** The tenant, made when it is new. Throws a retryable `mock_world_full`. */
  touch(owner: Owner): MockTenant {
    const key = keyOf(owner);
    const known = this.#tenants.get(key);
    if (known !== undefined) return known;
    if (this.#tenants.size >= this.#capacity) {
      throw new ComputeError(
        "mock_world_full",
        `The mock provider holds at most ${this.#capacity} tenants.`,
        {
          retryable: true,
        },
      );
    }
    const tenant: MockTenant = { fence: null, compute: null, starts: 0 };
    this.#tenants.set(key, tenant);
    return tenant;
  }

  /** Every tenant of an instance that has compute. */
  *running(instanceId: string): Generator<{ readonly tenantId: string; readonly compute: MockCompute }> {
    for (const [key, { compute }] of this.#tenants) {
      if (compute !== null && key.startsWith(`${instanceId}/`))
        yield { tenantId: key.slice(instanceId.length + 1), compute };
    }
  }

  /** Forgets everything, fences included. */
  clear(): void {
    this.#tenants.clear();
  }
}

function keyOf({ instanceId, tenantId }: Owner): string {
  return `${instanceId}/${tenantId}`;
}

/** The world of this process. */
export const sharedMockWorld = new MockWorld();
