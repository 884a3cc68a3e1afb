/** What every worker engine is given: the job's dependencies and the answers to queries. */
import type { ComputeProvider } from "../compute/provider.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { JobDependencies } from "./job.ts";
import type { PayloadPolicy } from "./payloads.ts";

export interface WorkerContext {
  readonly job: JobDependencies;
  resolveByName(name: string): Promise<ComputeProvider>;
  readonly logger: Logger;
  /** Without it: no key, and payloads come as they are. */
  readonly payloads?: PayloadPolicy;
}
