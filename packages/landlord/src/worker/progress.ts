/** Tells the API how a job goes. Hints only: nothing waits for them, and losing them loses nothing. */
import { JOB_OUTCOMES, type ProvisionRequest } from "../contract/job.ts";
import { messageOf } from "../domain/errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { LandlordApi } from "./landlord-api.ts";

/** Hints under way at once, and jobs whose hints are held back; what comes on top is dropped. */
const PENDING_LIMIT = 32;
const HELD_JOBS_LIMIT = 1_000;
const HELD_HINTS_LIMIT = 8;
/** Nobody follows a job that is over before he could look, and its result says it all: its hints are not sent. */
const HOLD_MS = 300;
const MESSAGE_LIMIT = 4_096;

export type ReportProgress = (request: ProvisionRequest, phase: string, message: string) => void;

interface Hint {
  readonly phase: string;
  readonly message: string;
}

/** After these phases nothing follows. */
const ENDS: ReadonlySet<string> = new Set(JOB_OUTCOMES);

export function createProgressReporter(api: LandlordApi | null, logger: Logger): ReportProgress {
  const held = new Map<string, { readonly hints: Hint[]; readonly timer: NodeJS.Timeout }>();
  let pending = 0;

  async function send(executionId: string, { phase, message }: Hint): Promise<void> {
    if (api === null || pending >= PENDING_LIMIT) return;
    pending += 1;
    try {
      await api.postProgress(executionId, phase, message.slice(0, MESSAGE_LIMIT));
    } catch (error) {
      logger.trace({ execution_id: executionId, error: messageOf(error) }, "progress not reported");
    } finally {
      pending -= 1;
    }
  }

  async function sendHeld(executionId: string): Promise<void> {
    const hints = held.get(executionId)?.hints ?? [];
    held.delete(executionId);
    for (const hint of hints) await send(executionId, hint);
  }

  return ({ execution_id: executionId }, phase, message) => {
    if (api === null) return;
    const known = held.get(executionId);
    if (known !== undefined && ENDS.has(phase)) {
      clearTimeout(known.timer);
      held.delete(executionId);
    } else if (known !== undefined) {
      if (known.hints.length < HELD_HINTS_LIMIT) known.hints.push({ phase, message });
    } else if (phase === "started" && held.size < HELD_JOBS_LIMIT) {
      const timer = setTimeout(() => void sendHeld(executionId), HOLD_MS).unref();
      held.set(executionId, { hints: [{ phase, message }], timer });
    } else void send(executionId, { phase, message });
  };
}
