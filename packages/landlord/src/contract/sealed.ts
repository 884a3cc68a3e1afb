/**
 * Encrypted payloads on the wire. Whatever is sealed is an object with the one key `$sealed`, beside which a job keeps
 * what engines and logs address it by. A worker that knows nothing of encryption finds no valid request in it and
 * refuses, so that nothing is ever applied unread. Inside, each value names what it is for: one cannot stand in the
 * place of another.
 */
import { z } from "zod";
import { canonicalJson, isJsonObject, type Json } from "../domain/json.ts";
import { OPERATION_KINDS } from "../domain/tenant.ts";
import type { ProvisionRequest, QueryMethod, QueryRequest } from "./job.ts";
import { UnreadablePayloadError, type PayloadCipher } from "./payload-cipher.ts";

const SEALED = "$sealed";

const sealedSchema = z.object({ [SEALED]: z.string() });
/** A value that only holders of the key can read. */
export type Sealed = z.infer<typeof sealedSchema>;

export const sealedRequestSchema = sealedSchema.extend({
  execution_id: z.string(),
  tenant_id: z.string(),
  operation: z.enum(OPERATION_KINDS),
  generation: z.int(),
});
type SealedRequest = z.infer<typeof sealedRequestSchema>;

/** What an engine carries to a worker. */
export type JobPayload = ProvisionRequest | SealedRequest;
export type QueryPayload = QueryRequest | Sealed;

export function isSealed(value: unknown): value is Sealed {
  return isJsonObject(value) && typeof value[SEALED] === "string";
}

/**
 * @param subject what the value is for; `openValue` must be told the same
 * @param question what it answers: sealed with the same key, since whoever asked need not have a newer one yet
 */
export function sealValue(cipher: PayloadCipher, subject: string, value: unknown, question?: Sealed): Sealed {
  const text = canonicalJson({ for: subject, value: value as Json });
  return { [SEALED]: cipher.seal(text, question?.[SEALED]) };
}

/** @throws UnreadablePayloadError without the key, and for a value that is for something else */
export function openValue(cipher: PayloadCipher | null, subject: string, sealed: Sealed): Json {
  if (cipher === null) {
    throw new UnreadablePayloadError(
      "The payload is encrypted, and this process has no key: set workflow.encryption_key.",
    );
  }
  const opened = JSON.parse(cipher.open(sealed[SEALED])) as { readonly for: string; readonly value: Json };
  if (opened.for !== subject)
    throw new UnreadablePayloadError(`The payload is for ${opened.for}, and not for ${subject}.`);
  return opened.value;
}

export const requestSubject = (executionId: string): string => `request ${executionId}`;
export const resultSubject = (executionId: string): string => `result ${executionId}`;
export const stepSubject = (executionId: string, name: string): string => `step ${executionId}/${name}`;
export const questionSubject = (method: QueryMethod): string => `question ${method}`;
export const answerSubject = (method: QueryMethod): string => `answer ${method}`;

export function sealRequest(cipher: PayloadCipher, request: ProvisionRequest): SealedRequest {
  return {
    ...sealValue(cipher, requestSubject(request.execution_id), request),
    execution_id: request.execution_id,
    tenant_id: request.tenant_id,
    operation: request.operation,
    generation: request.generation,
  };
}
