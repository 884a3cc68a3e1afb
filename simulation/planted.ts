/** Where a bug can be planted: wrappers around ports and around decide(). Production code has no switch for any. */
import type { decide } from "../packages/landlord/src/domain/decide.ts";
import type { ComputeProvider } from "../packages/landlord/src/compute/provider.ts";
import type { Store } from "../packages/landlord/src/store/store.ts";
import type { JobDependencies } from "../packages/landlord/src/worker/job.ts";
import type { WorkflowProvider } from "../packages/landlord/src/workflow/provider.ts";
import type { HostSettings } from "./compute.ts";
import type { Database } from "./database.ts";
import type { RunJob } from "./worker.ts";

export interface Plant {
  /** In kebab-case. */
  readonly name: string;
  /** What somebody did wrong. */
  readonly title: string;
  /** Each is called once for each life of a process: what a wrapper remembers dies with it. */
  wrapStore?(store: Store, parts: ServerParts): Store;
  wrapDecide?(decided: typeof decide): typeof decide;
  wrapProvider?(provider: WorkflowProvider): WorkflowProvider;
  wrapCompute?(compute: ComputeProvider): ComputeProvider;
  wrapJob?(run: RunJob): RunJob;
  wrapJobDependencies?(dependencies: JobDependencies): JobDependencies;
  readonly host?: Partial<HostSettings>;
}

export interface ServerParts {
  readonly provider: WorkflowProvider;
  /** The tables themselves: a wrapper may look and change where a wrong statement would have. */
  readonly database: Database;
}
