/** Tells the API how a job goes. Hints only: nothing waits for them, and losing them loses nothing. */
import type { ProvisionRequest } from "../contract/job.ts";
import { messageOf } from "../domain/errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { LandlordApi } from "./landlord-api.ts";

/** Hints under way at once; what comes on top is dropped. */
const PENDING_LIMIT = 32;
const MESSAGE_LIMIT = 4_096;

export type ReportProgress = (request: ProvisionRequest, phase: string, message: string) => void;

export function createProgressReporter(api: LandlordApi | null, logger: Logger): ReportProgress {
  let pending = 0;
  return (request, phase, message) => {
    if (api === null || pending >= PENDING_LIMIT) return;
    pending += 1;
    api
      .postProgress(request.execution_id, phase, message.slice(0, MESSAGE_LIMIT))
      .catch((error: unknown) =>
        logger.trace(
          { execution_id: request.execution_id, error: messageOf(error) },
          "progress not reported",
        ),
      )
      .finally(() => (pending -= 1));
  };
}
