import { describe, expect, it } from "vitest";
import { createMockComputeProvider, mockComputeFactory } from "../../src/compute/mock/provider.ts";
import { MockWorld } from "../../src/compute/mock/world.ts";
import { applied, newSpec, next, observe, options, refOf } from "./process-kit.ts";

describe("mock provider", () => {
  it("keeps the fences of the port", async () => {
    const provider = createMockComputeProvider();
    const spec = newSpec({ size: 1 });
    const second = next(spec, { size: 2 });
    expect(await applied(provider, spec)).toMatchObject({
      presence: "present",
      generation: 1,
      health: "healthy",
    });
    expect(await provider.plan(second, await observe(provider, spec))).toMatchObject([
      { action: "replace", fields: ["/size"] },
    ]);
    await applied(provider, second);
    expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 2 });
    expect(await provider.apply({ ...second, configHash: "other" }, options)).toEqual({
      kind: "stale",
      generation: 2,
    });
    expect(await provider.destroy({ ...refOf(spec), generation: 1 }, options)).toMatchObject({
      generation: 2,
    });
    expect(await provider.destroy({ ...refOf(spec), generation: 2 }, options)).toMatchObject({
      presence: "absent",
    });
    expect(await provider.apply(second, options)).toEqual({ kind: "stale", generation: 2 });
    expect(await observe(provider, spec)).toMatchObject({ presence: "absent", health: "absent" });
  });

  it("starts one generation once, and shares its world", async () => {
    const world = new MockWorld();
    const [a, b] = [createMockComputeProvider({}, { world }), createMockComputeProvider({}, { world })];
    const spec = newSpec({});
    await Promise.all([applied(a, spec), applied(b, spec), applied(a, spec)]);
    expect(world.find(spec)?.starts).toBe(1);
    expect(await b.list(spec.instanceId, options.signal)).toMatchObject([
      { tenantId: spec.tenantId, generation: 1 },
    ]);
  });

  it("becomes healthy by its clock", async () => {
    let nowMs = 0;
    const provider = createMockComputeProvider({ health_after_ms: 50 }, { now: () => nowMs });
    const spec = newSpec({});
    expect((await applied(provider, spec)).health).toBe("starting");
    nowMs = 50;
    expect((await observe(provider, spec)).health).toBe("healthy");
  });

  it("fails as it is told", async () => {
    const spec = newSpec({});
    const told = createMockComputeProvider({ fail_apply: "terminal" });
    await expect(told.apply(spec, options)).rejects.toMatchObject({
      code: "mock_terminal",
      retryable: false,
    });
    const plain = createMockComputeProvider();
    const failing = newSpec({ fail: "retryable" });
    await expect(plain.apply(failing, options)).rejects.toMatchObject({
      code: "mock_retryable",
      retryable: true,
    });
    const unlucky = createMockComputeProvider({ failure_rate: 0.5 }, { random: () => 0.4 });
    await expect(unlucky.apply(spec, options)).rejects.toMatchObject({ code: "mock_retryable" });
    const aborted = { ...options, signal: AbortSignal.abort() };
    await expect(plain.apply(spec, aborted)).rejects.toMatchObject({ code: "aborted", retryable: true });
  });

  it("is bounded", async () => {
    const provider = createMockComputeProvider({}, { world: new MockWorld(1) });
    await applied(provider, newSpec({}));
    await expect(provider.apply(newSpec({}), options)).rejects.toMatchObject({ code: "mock_world_full" });
  });

  it("describes itself", () => {
    const description = mockComputeFactory.describe({ defaults: { size: 1 } });
    expect(description.configDefaults).toEqual({ size: 1 });
    expect(description.validateConfig({ anything: [1], fail: "terminal" })).toEqual([]);
    expect(description.validateConfig({ fail: "maybe" })).toMatchObject([{ pointer: "/fail" }]);
    expect(mockComputeFactory.engineConfigSchema.safeParse({ latency: 1 }).success).toBe(false);
  });
});
