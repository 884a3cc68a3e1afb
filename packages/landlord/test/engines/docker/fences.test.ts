import { describe, expect, it } from "vitest";
import type { ApplyResult } from "../../../src/compute/provider.ts";
import { eventually } from "../../support/eventually.ts";
import {
  containersOf,
  converge,
  destroy,
  dockerHost,
  namesOf,
  newProvider,
  newSpec,
  next,
  options,
  runningOf,
  sleeper,
  cleanUpAfterEach,
  web,
} from "./docker-kit.ts";
import { startDockerProxy } from "./docker-proxy.ts";

cleanUpAfterEach();

const quick = { ...web, stop_grace_seconds: 0 };

/** An apply that waits at the first request of that kind until `meanwhile` has happened. */
async function applyHeldAt(
  matches: (line: string) => boolean,
  spec: ReturnType<typeof newSpec>,
  meanwhile: () => Promise<unknown>,
  requests: string[] = [],
): Promise<ApplyResult | { readonly kind: "failed"; readonly error: unknown }> {
  const proxy = await startDockerProxy(dockerHost());
  try {
    const late = await newProvider({ host: proxy.host, per_tenant_network: true });
    // The sweep at its creation asks the same things.
    await eventually(() => proxy.seen.length >= 2, { what: "the first sweep" });
    const hold = proxy.hold(matches);
    const applying = late
      .apply(spec, options)
      .catch((error: unknown) => ({ kind: "failed", error }) as const);
    await hold.held;
    await meanwhile();
    hold.release();
    return await applying;
  } finally {
    requests.push(...proxy.seen);
    await proxy.stop();
  }
}

const steps: Readonly<Record<string, (line: string) => boolean>> = {
  "it looks at containers": (line) => line.startsWith("GET /containers/json"),
  "it looks at fences": (line) => line.startsWith("GET /volumes"),
  "it writes its fence": (line) => line.startsWith("POST /volumes/create"),
  "it makes the network": (line) => line.startsWith("POST /networks/create"),
  "it creates the container": (line) => line.startsWith("POST /containers/create"),
  "it starts the container": (line) => /POST \/containers\/[0-9a-f]+\/start/.test(line),
};

describe("a worker that was stopped for long and goes on", () => {
  it.each(Object.keys(steps))("after a destroy starts nothing, stopped before %s", async (step) => {
    const other = await newProvider({ per_tenant_network: true });
    const spec = newSpec(quick);
    const result = await applyHeldAt(steps[step]!, spec, async () => {
      expect(await destroy(other, spec)).toMatchObject({ presence: "absent" });
    });
    expect(result).toEqual({ kind: "stale", generation: 1 });
    expect(await containersOf(spec)).toEqual([]);
    expect(await namesOf("networks", spec)).toEqual([]);
  });

  it.each(Object.keys(steps))("after a newer generation starts nothing, stopped before %s", async (step) => {
    const other = await newProvider({ per_tenant_network: true, drain_seconds: 0 });
    const spec = newSpec(quick);
    const second = next(spec, { ...quick, image: "landlord-test:2" });
    const result = await applyHeldAt(steps[step]!, spec, () => converge(other, second));
    expect(result).toEqual({ kind: "stale", generation: 2 });
    expect(await runningOf(spec)).toEqual([2]);
    expect(await containersOf(spec)).toHaveLength(1);
  });

  it("does not replace a container that took the name of the one that it knew", async () => {
    const other = await newProvider({ per_tenant_network: true });
    const spec = newSpec(quick);
    const result = await applyHeldAt(steps["it starts the container"]!, spec, () => converge(other, spec));
    expect(result.kind).toBe("applied");
    expect(await containersOf(spec)).toHaveLength(1);
  });
});

describe("workers at the same time", () => {
  it("make one container of one generation", async () => {
    const providers = await Promise.all([newProvider(), newProvider(), newProvider()]);
    const spec = newSpec();
    const observed = await Promise.all(providers.map((provider) => converge(provider, spec)));
    expect(new Set(observed.map(({ resourceIds }) => resourceIds["container"])).size).toBe(1);
    expect(await containersOf(spec)).toHaveLength(1);
  });

  it("let one of two configs of a generation win", async () => {
    const [a, b] = await Promise.all([newProvider(), newProvider()]);
    const spec = newSpec({ ...sleeper, env: { WHO: "a" } });
    const rival = { ...next(spec, { ...sleeper, env: { WHO: "b" } }), generation: 1 };
    const results = await Promise.all([a.apply(spec, options), b.apply(rival, options)]);
    expect(results.map(({ kind }) => kind).sort()).toEqual(["applied", "stale"]);
    expect(await containersOf(spec)).toHaveLength(1);
  });

  it("let the config win whose fence came first, though the other looked before", async () => {
    const spec = newSpec({ ...quick, env: { WHO: "a" } });
    const rival = { ...next(spec, { ...quick, env: { WHO: "b" } }), generation: 1 };
    const winners: ReturnType<typeof applyHeldAt>[] = [];
    const requests: string[] = [];
    const loser = applyHeldAt(
      steps["it writes its fence"]!,
      rival,
      () =>
        new Promise<void>((hasFence) => {
          winners.push(
            applyHeldAt(steps["it creates the container"]!, spec, async () => {
              hasFence();
              await loser;
            }),
          );
        }),
      requests,
    );
    expect(await loser).toEqual({ kind: "stale", generation: 1 });
    // It did not even take the name for a moment, which would have made the winner give way.
    expect(requests.filter(steps["it creates the container"]!)).toEqual([]);
    expect(await winners[0]).toMatchObject({ kind: "applied", observation: { configHash: spec.configHash } });
    expect(await containersOf(spec)).toHaveLength(1);
  });

  it("never leave anything running after a destroy that raced with an apply", async () => {
    const [a, b] = await Promise.all([newProvider(), newProvider()]);
    for (let round = 0; round < 8; round += 1) {
      const spec = newSpec({ ...sleeper, env: { ROUND: String(round) } });
      const applying = a.apply(spec, options).then(
        ({ kind }) => kind,
        (error: unknown) => (error as { code: string }).code,
      );
      await destroy(b, spec);
      expect(["applied", "stale", "contended", "docker_failed"]).toContain(await applying);
      expect(await runningOf(spec)).toEqual([]);
      // A worker that loses at the wrong moment may leave a container that never ran.
      expect(await destroy(b, spec)).toMatchObject({ presence: "absent" });
      expect(await containersOf(spec)).toEqual([]);
      expect(await a.apply(spec, options)).toEqual({ kind: "stale", generation: 1 });
    }
  });

  it("end at the higher of two generations", async () => {
    const [a, b] = await Promise.all([newProvider({ drain_seconds: 0 }), newProvider({ drain_seconds: 0 })]);
    const spec = newSpec(quick);
    const second = next(spec, { ...quick, image: "landlord-test:2" });
    await Promise.allSettled([a.apply(spec, options), b.apply(second, options)]);
    await converge(b, second);
    expect(await a.apply(spec, options)).toEqual({ kind: "stale", generation: 2 });
    expect(await runningOf(spec)).toEqual([2]);
  });
});
