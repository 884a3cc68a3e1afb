/**
 * A workflow provider whose payloads are encrypted: requests and questions are sealed before any engine sees them, and
 * what workers sealed is opened. Without a cipher nothing is sealed; what comes back sealed is an error then, and never
 * taken for a config.
 */
import {
  answerSubject,
  isSealed,
  openValue,
  questionSubject,
  resultSubject,
  sealRequest,
  sealValue,
} from "../contract/sealed.ts";
import { UnreadablePayloadError, type PayloadCipher } from "../contract/payload-cipher.ts";
import type { JsonObject } from "../domain/json.ts";
import { QueryFailedError, type WorkflowProvider, type WorkflowStatus } from "./provider.ts";

export function sealingProvider(provider: WorkflowProvider, cipher: PayloadCipher | null): WorkflowProvider {
  const watch = provider.watchCompletion;
  return {
    name: provider.name,
    invoke: (params) =>
      provider.invoke(
        cipher === null || isSealed(params.request)
          ? params
          : { ...params, request: sealRequest(cipher, params.request) },
      ),
    getWorkflowStatus: async (params) =>
      (await provider.getWorkflowStatus(params)).map((status) => opened(status, cipher)),
    stop: (params) => provider.stop(params),
    async query(params) {
      const { method } = params;
      const request =
        cipher === null ? params.request : sealValue(cipher, questionSubject(method), params.request);
      const answer = await provider.query({ ...params, request });
      if (!isSealed(answer)) return answer;
      try {
        return openValue(cipher, answerSubject(method), answer);
      } catch (error) {
        if (!(error instanceof UnreadablePayloadError)) throw error;
        throw new QueryFailedError(`A worker's answer cannot be read: ${error.message}`, error);
      }
    },
    ensureWorkflow: (params) => provider.ensureWorkflow(params),
    watchCompletion:
      watch === null ? null : async (params) => opened(await watch.call(provider, params), cipher),
    health: (params) => provider.health(params),
    close: () => provider.close(),
  };
}

/** What cannot be read counts as an attempt that failed: the next one is sealed with a key that is there. */
function opened(status: WorkflowStatus, cipher: PayloadCipher | null): WorkflowStatus {
  const { output } = status;
  if (output === null || !isSealed(output.observed_config)) return status;
  try {
    const config = openValue(cipher, resultSubject(status.executionId), output.observed_config);
    return { ...status, output: { ...output, observed_config: config as JsonObject | null } };
  } catch (error) {
    if (!(error instanceof UnreadablePayloadError)) throw error;
    return {
      ...status,
      state: "failed",
      subState: "failed",
      error: { code: error.code, message: `The job's result cannot be read: ${error.message}` },
      output: null,
    };
  }
}
