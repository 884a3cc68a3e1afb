/** Any engine of the conformance kit, with what it carries encrypted. */
import { randomBytes } from "node:crypto";
import { createPayloadCipher, type PayloadCipher } from "../../src/contract/payload-cipher.ts";
import type { WorkflowHarness } from "../../src/testing/workflow/harness.ts";
import { sealingProvider } from "../../src/workflow/sealing-provider.ts";

export function newKey(): string {
  return randomBytes(32).toString("base64url");
}

/** Both sides have the same key, and the worker takes nothing that is not encrypted. */
export function sealed(
  inner: WorkflowHarness,
  cipher: PayloadCipher = createPayloadCipher([newKey()]),
): WorkflowHarness {
  return {
    ...inner,
    open: async (faults) => sealingProvider(await inner.open(faults), cipher),
    openUnreachable: async () => sealingProvider(await inner.openUnreachable(), cipher),
    startWorker: (context) => inner.startWorker({ ...context, payloads: { cipher, required: true } }),
  };
}
