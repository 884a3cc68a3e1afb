/** What crosses an engine when keys are configured, and what becomes of it without them. */
import { describe, expect, it, test } from "vitest";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import { createPayloadCipher } from "../../src/contract/payload-cipher.ts";
import { VOID_RESULT, type JobResult } from "../../src/contract/job.ts";
import type { JobPayload, QueryPayload } from "../../src/contract/sealed.ts";
import { canonicalJson, type Json } from "../../src/domain/json.ts";
import { runJob } from "../../src/worker/job.ts";
import { answerPayload, openJob, type PayloadPolicy } from "../../src/worker/payloads.ts";
import type { WorkerContext } from "../../src/worker/worker-context.ts";
import type { WorkflowProvider, WorkflowStatus } from "../../src/workflow/provider.ts";
import { sealingProvider } from "../../src/workflow/sealing-provider.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";
import { Host, JournalSteps, requestWith } from "../worker/job-kit.ts";
import { newKey } from "./sealed-harness.ts";

const SECRET = "hunter2-never-in-the-clear";
const REQUEST = requestWith({
  tenant_name: `tenant-${SECRET}`,
  desired_config: { compute_provider: "mock", env: { DB_PASSWORD: SECRET } },
  labels: { note: SECRET },
  annotations: { note: SECRET },
});

/** An engine that keeps what it was given, and gives out what it is told to. */
function recordingEngine() {
  const invoked: JobPayload[] = [];
  const asked: QueryPayload[] = [];
  const engine = {
    invoked,
    asked,
    output: null as JobResult | null,
    answer: null as Json,
    provider: null as unknown as WorkflowProvider,
  };
  const status = (executionId: string): WorkflowStatus => ({
    executionId,
    state: "succeeded",
    subState: "succeeded",
    retryCount: 0,
    nextRetryAt: null,
    error: null,
    output: engine.output,
  });
  engine.provider = {
    name: "recording",
    invoke: ({ request }) => {
      invoked.push(request);
      return Promise.resolve({ executionId: request.execution_id, handle: "h", alreadyExisted: false });
    },
    getWorkflowStatus: ({ executions }) =>
      Promise.resolve(executions.map(({ executionId }) => status(executionId))),
    stop: ({ execution }) =>
      Promise.resolve({ executionId: execution.executionId, handle: "h", alreadyExisted: false }),
    query: ({ request }) => {
      asked.push(request);
      return Promise.resolve(engine.answer);
    },
    ensureWorkflow: () => Promise.resolve(),
    watchCompletion: ({ execution }) => Promise.resolve(status(execution.executionId)),
    health: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  return engine;
}

const signal = new AbortController().signal;
const invoke = (provider: WorkflowProvider) =>
  provider.invoke({ workflowName: "LandlordTenantV1", request: REQUEST, signal });
const executions = [{ executionId: REQUEST.execution_id, handle: "h", workflowName: "LandlordTenantV1" }];

function worker(payloads?: PayloadPolicy, host = new Host()): WorkerContext {
  return {
    logger: silentLogger,
    resolveByName: () => Promise.resolve(createMockComputeProvider({}, { world: host.world })),
    job: host.dependencies,
    ...(payloads === undefined ? {} : { payloads }),
  };
}

/** Everything between a server and a worker with these keys: the request as the engine has it, journal, and answer. */
async function throughEngine(server: readonly string[], atWorker: readonly string[]) {
  const engine = recordingEngine();
  const provider = sealingProvider(engine.provider, createPayloadCipher(server));
  await invoke(provider);
  const host = new Host();
  const steps = new JournalSteps(host);
  const context = worker({ cipher: createPayloadCipher(atWorker), required: false }, host);
  engine.output = await openJob(engine.invoked[0], context).run(runJob, steps);
  const [status] = await provider.getWorkflowStatus({ executions, signal });
  return { engine, host, steps, provider, status };
}

describe("a job", () => {
  it("is not to be read by the engine: neither request, nor journal, nor result", async () => {
    const key = newKey();
    const { engine, host, steps, status } = await throughEngine([key], [key]);
    expect(host.tenant).not.toBeNull();
    const seen = JSON.stringify([engine.invoked, steps.journal, engine.output]);
    expect(seen).not.toContain(SECRET);
    // The test would not notice a provider that reports no config.
    expect(status?.output?.outcome).toBe("succeeded");
    expect(JSON.stringify(status?.output?.observed_config)).toContain(SECRET);
    expect(engine.invoked[0]).toMatchObject({
      execution_id: REQUEST.execution_id,
      tenant_id: REQUEST.tenant_id,
      operation: "create",
      generation: 1,
    });
  });

  it("is the same bytes each time it is invoked, at every server", async () => {
    const key = newKey();
    const first = recordingEngine();
    await invoke(sealingProvider(first.provider, createPayloadCipher([key])));
    await invoke(sealingProvider(first.provider, createPayloadCipher([key])));
    const reordered = Object.fromEntries(Object.entries(REQUEST).toReversed()) as typeof REQUEST;
    await sealingProvider(first.provider, createPayloadCipher([key])).invoke({
      workflowName: "LandlordTenantV1",
      request: reordered,
      signal,
    });
    const texts = first.invoked.map((payload) => canonicalJson(payload as unknown as Json));
    expect(new Set(texts).size).toBe(1);
  });

  it("resumes from a journal that is sealed, without doing its steps again", async () => {
    const key = newKey();
    const { engine, host, steps } = await throughEngine([key], [key]);
    const again = new JournalSteps(host, { journal: steps.journal });
    const context = worker({ cipher: createPayloadCipher([key]), required: true }, host);
    expect(await openJob(engine.invoked[0], context).run(runJob, again)).toEqual(engine.output);
    expect(again.attempts).toBe(0);
  });

  test("keys rotate: workers first, then servers, then the old one goes", async () => {
    const [old, fresh] = [newKey(), newKey()];
    for (const [server, atWorker] of [
      [[old], [old]],
      [[old], [fresh, old]],
      [
        [fresh, old],
        [fresh, old],
      ],
      [[fresh], [fresh]],
    ] as const) {
      const { status } = await throughEngine(server, atWorker);
      expect(status?.output?.outcome).toBe("succeeded");
    }
  });

  it("is refused, retryably and with what to do, by a worker without the key", async () => {
    const engine = recordingEngine();
    await invoke(sealingProvider(engine.provider, createPayloadCipher([newKey()])));
    const unreadable = expect.objectContaining({
      code: "payload_unreadable",
      message: expect.stringMatching(/workflow\.encryption_key/) as string,
    });
    expect(() => openJob(engine.invoked[0], worker())).toThrow(unreadable);
    const other = { cipher: createPayloadCipher([newKey()]), required: false };
    expect(() => openJob(engine.invoked[0], worker(other))).toThrow(unreadable);
  });

  it("is taken unencrypted by a worker with a key, unless encryption is required", async () => {
    const cipher = createPayloadCipher([newKey()]);
    const host = new Host();
    const lenient = openJob(REQUEST, worker({ cipher, required: false }, host));
    const result = await lenient.run(runJob, new JournalSteps(host));
    // It answers as it was asked: this server has no key yet.
    expect(JSON.stringify(result.observed_config)).toContain(SECRET);
    expect(() => openJob(REQUEST, worker({ cipher, required: true }))).toThrow(
      expect.objectContaining({ code: "payload_unreadable" }),
    );
  });

  it("cannot be put in the place of another", async () => {
    const key = newKey();
    const engine = recordingEngine();
    await invoke(sealingProvider(engine.provider, createPayloadCipher([key])));
    const moved = { ...engine.invoked[0], execution_id: "44444444-4444-4444-8444-444444444444" };
    const context = worker({ cipher: createPayloadCipher([key]), required: true });
    expect(() => openJob(moved, context)).toThrow(/is for request 3333/);
  });

  it("is refused for good when what is inside is no request", () => {
    expect(() => openJob({ hello: 1 }, worker())).toThrow(
      expect.objectContaining({ code: "invalid_payload" }),
    );
  });
});

describe("a result", () => {
  it("that cannot be read is an attempt that failed, and no config", async () => {
    const key = newKey();
    const { engine } = await throughEngine([key], [key]);
    for (const cipher of [null, createPayloadCipher([newKey()])]) {
      const provider = sealingProvider(engine.provider, cipher);
      const [status] = await provider.getWorkflowStatus({ executions, signal });
      expect(status).toMatchObject({ state: "failed", output: null, error: { code: "payload_unreadable" } });
      const watched = await provider.watchCompletion?.({ execution: executions[0] as never, signal });
      expect(watched?.state).toBe("failed");
    }
  });

  it("of another execution is not taken", async () => {
    const key = newKey();
    const { provider } = await throughEngine([key], [key]);
    const [status] = await provider.getWorkflowStatus({
      executions: [{ executionId: "another", handle: "h", workflowName: "LandlordTenantV1" }],
      signal,
    });
    expect(status).toMatchObject({ state: "failed", error: { code: "payload_unreadable" } });
  });

  it("of an occupied id passes as it is", async () => {
    const engine = recordingEngine();
    engine.output = VOID_RESULT;
    const provider = sealingProvider(engine.provider, createPayloadCipher([newKey()]));
    const [status] = await provider.getWorkflowStatus({ executions, signal });
    expect(status?.output).toEqual(VOID_RESULT);
  });

  it("that has grown too large by encryption leaves the config out", async () => {
    const key = newKey();
    const big = { blob: "x".repeat(60_000) };
    const context = worker({ cipher: createPayloadCipher([key]), required: true });
    const engine = recordingEngine();
    const provider = sealingProvider(engine.provider, createPayloadCipher([key]));
    await invoke(provider);
    const job = (): Promise<JobResult> =>
      Promise.resolve({ ...VOID_RESULT, config_hash: "h", observed_config: big });
    engine.output = await openJob(engine.invoked[0], context).run(job, new JournalSteps(new Host()));
    expect(JSON.stringify(engine.output).length).toBeLessThan(65_536);
    const [status] = await provider.getWorkflowStatus({ executions, signal });
    expect(status?.output?.observed_config).toEqual({ truncated: true, config_hash: "h" });
  });
});

describe("a question", () => {
  const question = { compute_provider: "mock", instance_id: "i", tenants: [], tail_bytes: 1_000 };

  it("and its answer are not to be read by the engine", async () => {
    const cipher = createPayloadCipher([newKey()]);
    const engine = recordingEngine();
    const provider = sealingProvider(engine.provider, cipher);
    const ask = () => provider.query({ method: "list", request: question, signal });
    await ask();
    expect(JSON.stringify(engine.asked)).not.toContain("compute_provider");
    engine.answer = await answerPayload("list", engine.asked[0], worker({ cipher, required: true }), signal);
    expect(JSON.stringify(engine.answer)).not.toContain("resources");
    expect(await ask()).toEqual({ truncated: false, resources: [] });
    // One kind of answer does not pass for another.
    await expect(provider.query({ method: "logs", request: question, signal })).rejects.toThrow(
      /is for answer list/,
    );
    await expect(answerPayload("list", question, worker({ cipher, required: true }), signal)).rejects.toThrow(
      /require_encryption/,
    );
    expect(await answerPayload("list", question, worker({ cipher, required: false }), signal)).toEqual({
      truncated: false,
      resources: [],
    });
  });
});
