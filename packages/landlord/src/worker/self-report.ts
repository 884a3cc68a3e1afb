/** A worker tells the API that it lives and what it serves, for people to read. No job waits for it. */
import { nameInScope } from "../contract/job.ts";
import { messageOf } from "../domain/errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { WorkflowWorkerEngine } from "./engine.ts";
import { JOB_VERSIONS } from "./job-versions.ts";
import type { LandlordApi } from "./landlord-api.ts";

/** A third of the time after which a worker counts as gone (WORKER_LIVE_MS). */
const REPORT_INTERVAL_MS = 15_000;
/** Until the engine knows the worker, people look for it more closely. */
const FIRST_REPORTS_MS = 1_000;

export interface SelfReport {
  /** Says good-bye, as far as the API listens. */
  stop(): Promise<void>;
}

export interface WorkerFacts {
  readonly id: string;
  readonly version: string;
  readonly computeProviders: readonly string[];
  /** Those that it found out so far. */
  scopes(): readonly string[];
}

export function startSelfReport(
  engine: Pick<WorkflowWorkerEngine, "name" | "status">,
  api: Pick<LandlordApi, "putWorker" | "deleteWorker">,
  worker: WorkerFacts,
  logger: Logger,
): SelfReport {
  const startedAt = new Date().toISOString();
  let timer: NodeJS.Timeout | null = null;
  let stopped = false;
  let running = Promise.resolve();

  async function report(): Promise<void> {
    const { registeredAt, lastRegistrationError } = engine.status();
    const scopes = worker.scopes();
    try {
      await api.putWorker(worker.id, {
        engine: engine.name,
        workflows: [...JOB_VERSIONS.keys()].flatMap((name) => [
          name,
          ...scopes.map((scope) => nameInScope(name, scope)),
        ]),
        compute_providers: [...worker.computeProviders],
        scopes: [...scopes],
        version: worker.version,
        started_at: startedAt,
        registered_at: registeredAt?.toISOString() ?? null,
        last_error: lastRegistrationError?.slice(0, 2_000) ?? null,
      });
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "the API was not told about this worker; trying again");
    }
    if (stopped) return;
    const isKnown = registeredAt !== null;
    const again = (): void => void (running = report());
    timer = setTimeout(again, isKnown ? REPORT_INTERVAL_MS : FIRST_REPORTS_MS);
    timer.unref();
  }

  running = report();
  return {
    async stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
      await running;
      await api.deleteWorker(worker.id).catch((error: unknown) => {
        logger.debug({ error: messageOf(error) }, "the API was not told that this worker ends");
      });
    },
  };
}
