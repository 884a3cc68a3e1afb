/**
 * From what an engine carried to a job or an answer, on every engine: opens what is sealed, and answers sealed what was
 * asked sealed. A job that was sealed also seals what its steps remember, since the engine keeps that too.
 */
import type { z } from "zod";
import {
  answerSubject,
  isSealed,
  openValue,
  questionSubject,
  requestSubject,
  resultSubject,
  sealedRequestSchema,
  sealValue,
  stepSubject,
  type Sealed,
} from "../contract/sealed.ts";
import {
  JOB_RESULT_LIMIT_BYTES,
  provisionRequestSchema,
  queryRequestSchema,
  type JobResult,
  type ProvisionRequest,
  type QueryMethod,
} from "../contract/job.ts";
import { UnreadablePayloadError, type PayloadCipher } from "../contract/payload-cipher.ts";
import { LandlordError } from "../domain/errors.ts";
import type { Json } from "../domain/json.ts";
import type { Job } from "./job-versions.ts";
import { answerQuery } from "./queries.ts";
import type { DurableSteps } from "./steps.ts";
import type { WorkerContext } from "./worker-context.ts";

/** How a worker treats encrypted payloads. */
export interface PayloadPolicy {
  /** Null: it has no key. */
  readonly cipher: PayloadCipher | null;
  /** What is not encrypted is refused. */
  readonly required: boolean;
}

const NO_ENCRYPTION: PayloadPolicy = { cipher: null, required: false };

/** No request at all: repeating does not mend it. */
export class InvalidPayloadError extends LandlordError {
  constructor(problem: string) {
    super("invalid_payload", problem);
  }
}

export interface OpenedJob {
  readonly request: ProvisionRequest;
  run(job: Job, steps: DurableSteps, dependencies?: WorkerContext["job"]): Promise<JobResult>;
}

/**
 * @throws InvalidPayloadError for what is no request
 * @throws UnreadablePayloadError for one that this worker cannot or must not read; another attempt, at a worker with the
 * key, is worth it
 */
export function openJob(input: unknown, context: WorkerContext): OpenedJob {
  const { cipher, required } = context.payloads ?? NO_ENCRYPTION;
  if (!isSealed(input)) {
    if (required) throw unencrypted();
    const request = validRequest(provisionRequestSchema, input);
    return { request, run: (job, steps, own = context.job) => job(request, steps, own) };
  }
  const sealed = validRequest(sealedRequestSchema, input);
  const { execution_id: executionId } = sealed;
  const request = validRequest(
    provisionRequestSchema,
    openValue(cipher, requestSubject(executionId), sealed),
  );
  const seal = (subject: string, value: unknown): Sealed =>
    sealValue(cipher as PayloadCipher, subject, value, sealed);
  return {
    request,
    async run(job, steps, own = context.job) {
      const result = await job(request, sealingSteps(steps, cipher, executionId, seal), own);
      return sealResult(result, resultSubject(executionId), seal);
    },
  };
}

function validRequest<T>(schema: z.ZodType<T>, input: unknown): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new InvalidPayloadError(`The provision request is not valid: ${parsed.error.message}`);
}

type Seal = (subject: string, value: unknown) => Sealed;

function sealingSteps(
  steps: DurableSteps,
  cipher: PayloadCipher | null,
  executionId: string,
  seal: Seal,
): DurableSteps {
  return {
    async run<T>(name: string, effect: (signal: AbortSignal) => Promise<T>): Promise<T> {
      const subject = stepSubject(executionId, name);
      const remembered = await steps.run(name, async (signal): Promise<unknown> => {
        const answer = await effect(signal);
        return typeof answer === "object" && answer !== null ? seal(subject, answer) : answer;
      });
      return (isSealed(remembered) ? openValue(cipher, subject, remembered) : remembered) as T;
    },
    sleep: (durationMs) => steps.sleep(durationMs),
    idempotencyKey: (name) => steps.idempotencyKey(name),
    announceWaiting: () => steps.announceWaiting(),
  };
}

/** Encryption makes it longer; a config that does not fit any more is left out, as in a job of its own. */
function sealResult(result: JobResult, subject: string, seal: Seal): JobResult {
  if (result.observed_config === null) return result;
  const withConfig = (config: Json): JobResult => ({ ...result, observed_config: seal(subject, config) });
  const sealed = withConfig(result.observed_config);
  if (Buffer.byteLength(JSON.stringify(sealed)) <= JOB_RESULT_LIMIT_BYTES) return sealed;
  return withConfig({ truncated: true, config_hash: result.config_hash });
}

/**
 * The answer to a question, as it came through an engine.
 *
 * @throws InvalidPayloadError, UnreadablePayloadError, and what the provider throws
 */
export async function answerPayload(
  method: QueryMethod,
  input: unknown,
  context: WorkerContext,
  signal: AbortSignal,
): Promise<Json> {
  const { cipher, required } = context.payloads ?? NO_ENCRYPTION;
  if (!isSealed(input) && required) throw unencrypted();
  const request = queryRequestSchema.safeParse(
    isSealed(input) ? openValue(cipher, questionSubject(method), input) : input,
  );
  if (!request.success) throw new InvalidPayloadError(`The query is not valid: ${request.error.message}`);
  const provider = await context.resolveByName(request.data.compute_provider);
  const answer = await answerQuery(method, request.data, provider, signal);
  return isSealed(input) ? sealValue(cipher as PayloadCipher, answerSubject(method), answer, input) : answer;
}

function unencrypted(): UnreadablePayloadError {
  return new UnreadablePayloadError(
    "The payload is not encrypted, and workflow.require_encryption is set here: give the server workflow.encryption_key.",
  );
}
