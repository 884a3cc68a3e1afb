/** What every benchmark needs: a running system, tenants in it, and numbers from samples. */
import { setTimeout as delay } from "node:timers/promises";

export interface System {
  readonly apiUrl: string;
  readonly ingressUrl: string;
  readonly adminUrl: string;
  stop(): Promise<void>;
}

export interface Figure {
  readonly id: string;
  readonly value: number;
  readonly unit: "ms" | "req/s";
  readonly raw: number;
  readonly ratio: number;
  readonly goal: string;
  readonly met: boolean;
  /** Lowest and highest ratio of the rounds. */
  readonly spread: readonly [number, number];
}

/** Short enough to add little, long enough not to compete with the server for its core. */
const POLL_MS = 4;

let counter = 0;

/** A number that no other sample of this run has. */
export const nextNumber = (): number => counter++;

/** Answers the id. */
export async function createTenant(
  system: System,
  priority: "interactive" | "bulk" = "interactive",
): Promise<string> {
  const created = await fetch(`${system.apiUrl}/v1/tenants`, {
    method: "POST",
    headers: { "content-type": "application/json", "landlord-priority": priority },
    body: JSON.stringify({ name: `bench-${process.pid}-${nextNumber()}`, compute_config: {} }),
  });
  if (created.status !== 201) throw new Error(`POST answered ${created.status}: ${await created.text()}`);
  return ((await created.json()) as { id: string }).id;
}

export async function isReady(system: System, id: string): Promise<boolean> {
  const tenant = (await (await fetch(`${system.apiUrl}/v1/tenants/${id}`)).json()) as {
    status: string;
    status_message: string;
  };
  if (tenant.status === "failed") throw new Error(`the tenant failed: ${tenant.status_message}`);
  return tenant.status === "ready";
}

/** From POST to ready, in ms. */
export async function createAndWait(system: System): Promise<number> {
  const startedMs = performance.now();
  const id = await createTenant(system);
  while (!(await isReady(system, id))) await delay(POLL_MS);
  return performance.now() - startedMs;
}

/** In ascending order. */
export async function sample(count: number, run: () => Promise<number>): Promise<number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) samples.push(await run());
  return samples.sort((a, b) => a - b);
}

export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}
