/** The job, on an engine in memory: its outcomes, and that it may be interrupted anywhere. */
import { describe, expect, it } from "vitest";
import {
  JOB_RESULT_LIMIT_BYTES,
  jobResultSchema,
  type JobResult,
  type ProvisionRequest,
} from "../../src/contract/job.ts";
import { ComputeError, type ComputeProvider, type Observation } from "../../src/compute/provider.ts";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import { runJob } from "../../src/worker/job.ts";
import {
  ABSENT,
  Crash,
  Host,
  JournalSteps,
  PRESENT,
  requestWith,
  retryable,
  withMethods,
} from "./job-kit.ts";
import { healthyObservation, scriptedCompute } from "../../src/plugin/testing.ts";

async function run(
  host: Host,
  request: ProvisionRequest,
  steps = new JournalSteps(host),
): Promise<JobResult> {
  const result = await runJob(request, steps, host.dependencies);
  expect(jobResultSchema.safeParse(result).error).toBeUndefined();
  expect(result).toMatchObject({
    tenant_id: request.tenant_id,
    generation: request.generation,
    config_hash: request.metadata.config_hash,
  });
  return result;
}

const update = requestWith({
  operation: "update",
  generation: 2,
  desired_config: { size: "l" },
  metadata: { ...requestWith().metadata, config_hash: "hash-2" },
});
const removal = requestWith({ operation: "delete", generation: 3 });

describe("create and update", () => {
  it("report what became of the compute", async () => {
    const host = new Host();
    expect(await run(host, requestWith())).toEqual({
      outcome: "succeeded",
      tenant_id: requestWith().tenant_id,
      generation: 1,
      config_hash: "hash-1",
      observed_config: requestWith().desired_config,
      observed_resource_ids: { mock: `${requestWith().metadata.instance_id}/${requestWith().tenant_id}-1` },
      endpoints: [],
      health: "healthy",
      scope: "mock:memory",
      absent_observations: 0,
      error: null,
    });
    expect(await run(host, update)).toMatchObject({ outcome: "succeeded", observed_config: { size: "l" } });
    expect(host.tenant).toMatchObject({ starts: 2, compute: { generation: 2 } });
    expect(host.progress).toEqual(["started", "succeeded", "started", "succeeded"]);
  });

  it("give every step a key of its own, the same each time it runs", async () => {
    const keys = async (): Promise<string[]> => {
      const host = new Host({ health_after_ms: 300 });
      const steps = new JournalSteps(host);
      await run(host, requestWith(), steps);
      return steps.keys;
    };
    const first = await keys();
    expect(new Set(first).size).toBe(first.length);
    expect(first.length).toBeGreaterThan(2);
    expect(await keys()).toEqual(first);
  });

  it("wait until compute is healthy, and say so", async () => {
    const host = new Host({ health_after_ms: 5_000 });
    const steps = new JournalSteps(host);
    expect(await run(host, requestWith(), steps)).toMatchObject({ outcome: "succeeded", health: "healthy" });
    expect(steps.journal.filter((entry) => entry.name === "waiting")).toHaveLength(1);
    expect(host.progress).toEqual(["started", "waiting", "succeeded"]);
    expect(host.tenant?.starts).toBe(1);
  });

  it("are rejected by what repeating cannot mend, after one try", async () => {
    const host = new Host();
    const steps = new JournalSteps(host);
    const result = await run(host, requestWith({ desired_config: { fail: "terminal" } }), steps);
    expect(result).toMatchObject({
      outcome: "rejected",
      error: { code: "mock_terminal" },
      health: "unknown",
      scope: "mock:memory",
    });
    // begin, apply
    expect(steps.attempts).toBe(2);
  });

  it("leave what is to be tried again to the engine", async () => {
    let failures = 2;
    const host = new Host({}, (compute) =>
      withMethods(compute, {
        apply: (spec, options) =>
          failures-- > 0 ? Promise.reject(retryable()) : compute.apply(spec, options),
      }),
    );
    const steps = new JournalSteps(host);
    expect(await run(host, requestWith(), steps)).toMatchObject({ outcome: "succeeded" });
    expect(steps.attempts).toBe(4);
    failures = 100;
    await expect(runJob(requestWith(), new JournalSteps(host), host.dependencies)).rejects.toMatchObject({
      code: "busy",
    });
  });

  it("give up, and tell the generation, when reality is ahead", async () => {
    const host = new Host();
    await run(host, requestWith({ generation: 7 }));
    expect(await run(host, update)).toMatchObject({
      outcome: "gave_up",
      error: { code: "stale_generation", observed_generation: 7 },
    });
    await run(host, requestWith({ operation: "delete", generation: 8 }));
    expect(await run(host, requestWith({ generation: 8 }))).toMatchObject({
      error: { code: "stale_generation", observed_generation: 8 },
    });
    expect(host.tenant?.compute).toBeNull();
  });
});

describe("start_before", () => {
  const late = requestWith({ start_before: "2026-01-01T12:00:00.000Z" });

  it.each(["create", "update", "delete"] as const)(
    "a %s that begins too late touches nothing",
    async (operation) => {
      const host = new Host();
      expect(await run(host, { ...late, operation })).toMatchObject({
        outcome: "expired",
        error: null,
        scope: null,
      });
      expect(host.tenant).toBeNull();
      expect(host.progress).toEqual([]);
    },
  );

  it("a job that began in time and is resumed late goes on", async () => {
    const host = new Host();
    const steps = new JournalSteps(host, { crashAt: 1 });
    await expect(run(host, requestWith(), steps)).rejects.toBeInstanceOf(Crash);
    host.nowMs += 3_600_000;
    expect(await run(host, requestWith(), new JournalSteps(host, { journal: steps.journal }))).toMatchObject({
      outcome: "succeeded",
    });
  });
});

describe("the health deadline", () => {
  const request = requestWith({
    desired_config: { health_check: { deadline_seconds: 2, interval_seconds: 0.1 } },
  });
  const hostOf = (look: (host: Host) => Partial<Observation>): Host => {
    const host: Host = new Host({}, (compute) =>
      withMethods(compute, {
        apply: () => Promise.resolve({ kind: "applied", observation: { ...PRESENT, ...look(host) } }),
      }),
    );
    return host;
  };

  it("ends a wait for compute that was seen unhealthy all the time", async () => {
    const host = hostOf(() => ({ health: "unhealthy", message: "503 from /" }));
    const begunMs = host.nowMs;
    expect(await run(host, request)).toMatchObject({
      outcome: "gave_up",
      error: { code: "health_deadline", message: "Compute did not become healthy within 2 s: 503 from /" },
    });
    const tookMs = host.nowMs - begunMs;
    expect(tookMs).toBeGreaterThanOrEqual(2_000);
    expect(tookMs).toBeLessThan(4_000);
  });

  it.each([
    ["unknown health", { health: "unknown" }],
    ["unknown presence", { presence: "unknown", health: "unhealthy" }],
  ] as const)("does not count %s, however long it lasts", async (_what, blind) => {
    const host: Host = hostOf((self) => (self.nowMs - begunMs < 600_000 ? blind : { health: "healthy" }));
    const begunMs = host.nowMs;
    expect(await run(host, request)).toMatchObject({ outcome: "succeeded" });
    expect(host.nowMs - begunMs).toBeGreaterThanOrEqual(600_000);
  });

  it("counts what was seen before and after a time of blindness together", async () => {
    let looks = 0;
    const host: Host = hostOf(() => (++looks % 2 === 0 ? { health: "unknown" } : { health: "starting" }));
    const begunMs = host.nowMs;
    expect(await run(host, request)).toMatchObject({ error: { code: "health_deadline" } });
    expect(host.nowMs - begunMs).toBeGreaterThanOrEqual(2_000);
    expect(host.nowMs - begunMs).toBeLessThan(12_000);
  });

  it("keeps the journal short: a day's wait has few entries", async () => {
    const host = hostOf(() => ({ health: "starting" }));
    const steps = new JournalSteps(host);
    await run(host, requestWith({ desired_config: { health_check: { deadline_seconds: 3_600 } } }), steps);
    expect(steps.journal.length).toBeLessThan(400);
  });
});

describe("delete", () => {
  it("proves absence twice, settle time apart", async () => {
    const looks: number[] = [];
    const host: Host = new Host({}, (compute) =>
      withMethods(compute, {
        destroy: (ref, options) => {
          looks.push(host.nowMs);
          return compute.destroy(ref, options);
        },
        observe: (refs, signal) => {
          looks.push(host.nowMs);
          return compute.observe(refs, signal);
        },
      }),
    );
    await run(host, requestWith());
    expect(await run(host, removal)).toMatchObject({
      outcome: "succeeded",
      health: "absent",
      absent_observations: 2,
      scope: "mock:memory",
    });
    expect(host.tenant?.compute).toBeNull();
    expect(looks).toHaveLength(2);
    expect((looks[1] ?? 0) - (looks[0] ?? 0)).toBe(500);
  });

  it("of what never was is proven in the same way", async () => {
    expect(await run(new Host(), removal)).toMatchObject({ outcome: "succeeded", absent_observations: 2 });
  });

  it("gives up when compute reappears", async () => {
    const host = new Host({}, (compute) =>
      withMethods(compute, { observe: () => Promise.resolve([PRESENT]) }),
    );
    expect(await run(host, removal)).toMatchObject({
      outcome: "gave_up",
      absent_observations: 0,
      error: { code: "reappeared" },
    });
  });

  it("waits for compute that is slow to go, and gives up at the deadline", async () => {
    let left = 3;
    const slow = new Host({}, (compute) =>
      withMethods(compute, {
        destroy: () => Promise.resolve(left-- > 0 ? { ...PRESENT, health: "unhealthy" } : ABSENT),
      }),
    );
    expect(await run(slow, removal)).toMatchObject({ outcome: "succeeded", absent_observations: 2 });
    const stuck = new Host({}, (compute) =>
      withMethods(compute, { destroy: () => Promise.resolve({ ...PRESENT, message: "still stopping" }) }),
    );
    expect(await run(stuck, removal)).toMatchObject({
      outcome: "gave_up",
      error: { code: "still_present", message: "Compute did not go away within 60 s: still stopping" },
    });
  });

  it("does not take what still serves of an older generation for the new one", async () => {
    let looks = 0;
    const behind = new Host({}, (compute) =>
      withMethods(compute, {
        async apply(spec, options) {
          const applied = await compute.apply(spec, options);
          looks += 1;
          if (applied.kind === "stale" || looks > 2) return applied;
          return { ...applied, observation: { ...applied.observation, generation: spec.generation - 1 } };
        },
      }),
    );
    expect(await run(behind, requestWith({ operation: "update", generation: 2 }))).toMatchObject({
      outcome: "succeeded",
    });
    expect(looks).toBe(3);
  });

  it("removes what is known to be somewhere without asking its config where", async () => {
    const unplaced = new Host({}, (compute) =>
      withMethods(compute, { scopeOf: () => Promise.reject(new Error("the config does not say")) }),
    );
    const adopted = { ...removal, desired_config: {}, scopes: ["mock:memory"] };
    expect(await run(unplaced, adopted)).toMatchObject({ outcome: "succeeded", absent_observations: 2 });
  });

  it("never takes what it cannot see for absent", async () => {
    const foreign = { ...removal, scopes: ["docker:elsewhere"] };
    const host = new Host();
    await expect(runJob(foreign, new JournalSteps(host), host.dependencies)).rejects.toMatchObject({
      code: "compute_unreachable",
      retryable: true,
    });
    const blindLater = new Host({}, (compute) =>
      withMethods(compute, { observe: () => Promise.resolve([{ ...ABSENT, presence: "unknown" as const }]) }),
    );
    await expect(
      runJob(removal, new JournalSteps(blindLater), blindLater.dependencies),
    ).rejects.toMatchObject({ code: "compute_unreachable" });
    const empty = new Host({}, (compute) => withMethods(compute, { observe: () => Promise.resolve([]) }));
    await expect(runJob(removal, new JournalSteps(empty), empty.dependencies)).rejects.toMatchObject({
      code: "compute_unreachable",
    });
  });

  it("is rejected by a provider that refuses for good", async () => {
    const host = new Host({}, (compute) =>
      withMethods(compute, {
        destroy: () => Promise.reject(new ComputeError("forbidden", "no", { retryable: false })),
      }),
    );
    expect(await run(host, removal)).toMatchObject({ outcome: "rejected", error: { code: "forbidden" } });
  });
});

it("cancellation reaches a step that is running", async () => {
  const controller = new AbortController();
  let entered = (): void => undefined;
  const inside = new Promise<void>((resolve) => (entered = resolve));
  const slow = createMockComputeProvider(
    { latency_ms: 600_000 },
    {
      sleep: (_durationMs, signal) => {
        entered();
        return new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => reject(new Error("aborted"))),
        );
      },
    },
  );
  const host = new Host({}, () => slow);
  const running = runJob(
    requestWith(),
    new JournalSteps(host, { signal: controller.signal }),
    host.dependencies,
  );
  await inside;
  controller.abort();
  await expect(running).rejects.toMatchObject({ code: "aborted" });
});

describe("resumed at every step", () => {
  const cases: readonly (readonly [string, ProvisionRequest, (host: Host) => Promise<unknown>])[] = [
    ["create", requestWith(), () => Promise.resolve()],
    ["update", update, (host) => run(host, requestWith())],
    ["delete", removal, (host) => run(host, requestWith())],
    ["rejected", requestWith({ desired_config: { fail: "terminal" } }), () => Promise.resolve()],
  ];

  it.each(
    cases.flatMap(([what, request, prepare]) => [
      { what, request, prepare, crashAfterEffect: false },
      { what, request, prepare, crashAfterEffect: true },
    ]),
  )(
    "$what gives the same result (effect done before the crash: $crashAfterEffect)",
    async ({ request, prepare, crashAfterEffect }) => {
      const settled = async (): Promise<Host> => {
        const host = new Host({ health_after_ms: 700 });
        await prepare(host);
        return host;
      };
      const calm = await settled();
      const whole = new JournalSteps(calm);
      const expected = await run(calm, request, whole);
      const { length } = whole.journal;
      expect(length).toBeGreaterThanOrEqual(2);
      for (let crashAt = 0; crashAt < length; crashAt++) {
        const host = await settled();
        const dying = new JournalSteps(host, { crashAt, crashAfterEffect });
        const result = await runJob(request, dying, host.dependencies).catch((error: unknown) => error);
        // An announcement is no step, and cannot be the place to die.
        if (!(result instanceof Crash)) expect(whole.journal[crashAt]?.name).toBe("waiting");
        const resumed = new JournalSteps(host, { journal: dying.journal });
        expect(await run(host, request, resumed), `crash at ${crashAt}`).toEqual(expected);
        expect(host.tenant?.starts, `crash at ${crashAt}`).toBe(calm.tenant?.starts);
        expect(host.tenant?.compute?.generation).toBe(calm.tenant?.compute?.generation);
      }
      // And the finished journal, replayed, touches nothing any more.
      const replaying = new JournalSteps(new Host(), { journal: whole.journal });
      expect(await runJob(request, replaying, new Host().dependencies)).toEqual(expected);
      expect(replaying.attempts).toBe(0);
    },
  );

  it("the same job twice at once is one set of compute", async () => {
    const host = new Host({ health_after_ms: 300 });
    const [first, second] = await Promise.all([run(host, requestWith()), run(host, requestWith())]);
    expect(second).toEqual(first);
    expect(host.tenant?.starts).toBe(1);
  });
});

it("a result is at most 64 KiB: a larger config is left out, and named by its hash", async () => {
  const host = new Host();
  const big = await run(host, requestWith({ desired_config: { blob: "ü".repeat(40_000) } }));
  expect(Buffer.byteLength(JSON.stringify(big))).toBeLessThanOrEqual(JOB_RESULT_LIMIT_BYTES);
  expect(big).toMatchObject({
    outcome: "succeeded",
    observed_config: { truncated: true, config_hash: "hash-1" },
  });
  const small = await run(new Host(), requestWith({ desired_config: { blob: "u".repeat(40_000) } }));
  expect(small.observed_config).toEqual({ blob: "u".repeat(40_000) });
});

it("a result is at most 64 KiB: long words of a provider are cut, and too many resources are no success", async () => {
  const steps = {
    run: <T>(_name: string, effect: (signal: AbortSignal) => Promise<T>) =>
      effect(new AbortController().signal),
    sleep: () => Promise.resolve(),
    idempotencyKey: (name: string) => name,
    announceWaiting: () => undefined,
  };
  const runWith = (compute: ComputeProvider) =>
    runJob(requestWith(), steps, {
      resolveCompute: () => Promise.resolve(compute),
      reportProgress: () => undefined,
      absenceSettleMs: 0,
      now: () => 0,
    });
  const wordy = scriptedCompute(() =>
    Promise.reject(new ComputeError("denied", "x".repeat(200_000), { retryable: false })),
  );
  const refused = await runWith(wordy);
  expect(refused).toMatchObject({ outcome: "rejected", error: { code: "denied" } });
  expect(Buffer.byteLength(JSON.stringify(refused))).toBeLessThanOrEqual(JOB_RESULT_LIMIT_BYTES);
  const resourceIds = Object.fromEntries(
    Array.from({ length: 5_000 }, (_, index) => [`id-${index}`, "y".repeat(20)]),
  );
  const swollen = await runWith(scriptedCompute(() => healthyObservation({ resourceIds })));
  expect(swollen).toMatchObject({ outcome: "gave_up", error: { code: "result_too_large" } });
});

it("what a slow effect says of its progress is passed on, cut to a bound", async () => {
  const host = new Host({}, (compute) =>
    withMethods(compute, {
      apply(spec, options) {
        options.onProgress?.("pulled 10 of 20 MB");
        options.onProgress?.("x".repeat(10_000));
        return compute.apply(spec, options);
      },
    }),
  );
  await run(host, requestWith());
  const said = host.progress.filter((line) => line.startsWith("applying"));
  expect(said[0]).toBe("applying: pulled 10 of 20 MB");
  expect(said[1]?.length).toBeLessThan(5_000);
});
