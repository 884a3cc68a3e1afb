import { describe, expect, it } from "vitest";
import type { ComputeProvider } from "../../../src/compute/provider.ts";
import { eventually } from "../../support/eventually.ts";
import {
  containersOf,
  converge,
  destroy,
  fetchText,
  namesOf,
  newProvider,
  newSpec,
  next,
  options,
  runningOf,
  cleanUpAfterEach,
  dockerHost,
  web,
} from "./docker-kit.ts";
import { type DockerProxy, type Fault, startDockerProxy } from "./docker-proxy.ts";

cleanUpAfterEach();

const engine = { drain_seconds: 0, per_tenant_network: true };
const FAULTS: readonly Fault[] = ["lose-request", "lose-answer"];
/** Far more calls than any step makes. */
const MAX_CALLS = 60;
const LANES = 3;

type Scenario = (provider: ComputeProvider) => Promise<unknown>;

/** Runs the scenario until the worker dies at the call of this index; false when it ended before. */
async function dies(
  index: number,
  fault: Fault,
  prepare: (proxy: DockerProxy) => Promise<Scenario>,
): Promise<boolean> {
  const proxy = await startDockerProxy(dockerHost());
  try {
    const scenario = await prepare(proxy);
    const provider = await newProvider({ ...engine, host: proxy.host });
    // The sweep at its creation is not what is tested here.
    await eventually(() => proxy.seen.length >= 2, { what: "the first sweep" });
    const base = proxy.seen.length;
    proxy.dieAt(base + index, fault);
    await scenario(provider).catch(() => undefined);
    return proxy.seen.length > base + index;
  } finally {
    await proxy.stop();
  }
}

/** Each call to the daemon is once the last one of a worker, sent or not; another worker goes on. */
async function atEveryCall(test: (index: number, fault: Fault) => Promise<boolean>): Promise<number> {
  let calls = 0;
  for (const fault of FAULTS) {
    let following = 0;
    let ended = false;
    const lane = async (): Promise<void> => {
      while (!ended) {
        const index = following++;
        if (index > MAX_CALLS) throw new Error("the scenario has no end");
        if (await test(index, fault)) calls += 1;
        else ended = true;
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }
  return calls;
}

describe("a worker that dies at any call to the daemon", () => {
  it("in a create: another one completes it, with one container", { timeout: 240_000 }, async () => {
    const other = await newProvider(engine);
    const calls = await atEveryCall(async (index, fault) => {
      const spec = newSpec();
      const died = await dies(index, fault, async () => (provider) => provider.apply(spec, options));
      const { endpoints } = await converge(other, spec);
      expect(await fetchText(endpoints[0]?.url)).toBe("landlord-test:1");
      expect(await containersOf(spec)).toHaveLength(1);
      expect(await namesOf("networks", spec)).toHaveLength(1);
      await destroy(other, spec);
      return died;
    });
    expect(calls).toBeGreaterThan(16);
  });

  it(
    "in an update: another one completes it, and nothing of the old one stays",
    { timeout: 240_000 },
    async () => {
      const other = await newProvider(engine);
      const calls = await atEveryCall(async (index, fault) => {
        const spec = newSpec();
        const second = next(spec, { ...web, image: "landlord-test:2" });
        const died = await dies(index, fault, async () => {
          await converge(other, spec);
          return (provider) => converge(provider, second);
        });
        const { endpoints } = await converge(other, second);
        expect(await fetchText(endpoints[0]?.url)).toBe("landlord-test:2");
        expect(await runningOf(spec)).toEqual([2]);
        expect(await containersOf(spec)).toHaveLength(1);
        await destroy(other, second);
        return died;
      });
      expect(calls).toBeGreaterThan(20);
    },
  );

  it("in a destroy: another one completes it, and it stays destroyed", { timeout: 240_000 }, async () => {
    const other = await newProvider(engine);
    const calls = await atEveryCall(async (index, fault) => {
      const spec = newSpec();
      const died = await dies(index, fault, async () => {
        await converge(other, spec);
        return (provider) => destroy(provider, spec);
      });
      expect(await destroy(other, spec)).toMatchObject({ presence: "absent" });
      expect(await containersOf(spec)).toEqual([]);
      expect(await namesOf("networks", spec)).toEqual([]);
      expect(await other.apply(spec, options)).toEqual({ kind: "stale", generation: 1 });
      expect(await namesOf("volumes", spec)).toHaveLength(1);
      return died;
    });
    expect(calls).toBeGreaterThan(12);
  });
});
