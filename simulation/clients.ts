/** Clients: each request is sent to some server, and sent again while nobody answers. */
import { UnavailableError } from "../packages/landlord/src/domain/errors.ts";
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import { HttpError } from "../packages/landlord/src/http/problem.ts";
import { newLife, type Life, type Network } from "./parties.ts";
import type { Action } from "./plan.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import type { SimulatedServer } from "./server.ts";
import { REQUEST_TIMEOUT_MS } from "./settings.ts";
import type { Trace } from "./trace.ts";

export interface ClientDependencies {
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly random: Random;
  readonly trace: Trace;
  readonly servers: readonly string[];
  /** The present life of a server; null while it is down. */
  server(party: string): SimulatedServer | null;
  acknowledged(tenant: Tenant): void;
}

const ATTEMPTS = 6;
const PAUSE_MS = { low: 200, high: 3_000 };

class NoAnswerError extends UnavailableError {}

/** Sends each request at its time. */
export function startClients(actions: readonly Action[], dependencies: ClientDependencies): void {
  for (const action of actions) {
    const life = newLife(`client-${action.tenantName.slice("tenant-".length)}`);
    dependencies.scheduler.plan(action.atMs, () => send(action, life, 1, dependencies));
  }
}

function send(action: Action, life: Life, attempt: number, dependencies: ClientDependencies): void {
  const { network, random, trace } = dependencies;
  const to = random.pick(dependencies.servers);
  trace(life.party, () => `${action.id} ${action.kind} ${JSON.stringify(action.config)} at ${to}`);
  network
    .call<Tenant>({
      from: life,
      to,
      name: action.kind,
      timeoutMs: REQUEST_TIMEOUT_MS,
      perform: () => dependencies.server(to)?.handle(action),
      failure: (reason) => new NoAnswerError("no_answer", reason),
    })
    .then(
      (tenant) => {
        trace(life.party, () => `${action.id} accepted: generation ${tenant.generation}`);
        dependencies.acknowledged(tenant);
      },
      (error: unknown) => {
        trace(life.party, () => `${action.id} refused: ${String(error)}`);
        const isPassing =
          error instanceof UnavailableError ||
          (error instanceof HttpError && error.code === "write_contention");
        if (!isPassing && !(error instanceof HttpError)) throw error;
        if (!isPassing || attempt >= ATTEMPTS) return;
        const delayMs = random.between(PAUSE_MS.low, PAUSE_MS.high);
        network.deliver(life, delayMs, () => send(action, life, attempt + 1, dependencies));
      },
    )
    .catch((error: unknown) => trace(life.party, () => `${action.id} ended: ${String(error)}`));
}
