/**
 * Removes containers that were replaced once their time is over. When that is stands in their names, so any worker
 * can, after any restart: the one that retired them by a timer, all others when they come across one.
 */
import type { Engine } from "./engine.ts";
import { type OwnContainer, ownContainer, type TenantKeys } from "./tenant-state.ts";

/** One sweep looks at all of the daemon; a failed one is tried again after this time. */
const RETRY_MS = 5_000;
const SWEEP_CONCURRENCY = 4;
/** Beyond this a timer would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class Retirement {
  readonly #engine: Engine;
  readonly #tenant: TenantKeys;
  #timer: NodeJS.Timeout | null = null;
  #dueAtMs = Number.POSITIVE_INFINITY;

  constructor(engine: Engine, tenant: TenantKeys) {
    this.#engine = engine;
    this.#tenant = tenant;
  }

  /** Sees to it that these are removed in time. Returns at once. */
  notice(retired: readonly OwnContainer[], clockOffsetMs: number): void {
    for (const { retiredUntilSeconds } of retired) {
      if (retiredUntilSeconds !== null) this.#wakeAt(retiredUntilSeconds * 1_000 - clockOffsetMs);
    }
  }

  /** Looks through the whole daemon soon: what a worker that died has left. */
  sweepSoon(): void {
    this.#wakeAt(Date.now());
  }

  #wakeAt(atMs: number): void {
    if (atMs >= this.#dueAtMs) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#dueAtMs = atMs;
    const waitMs = Math.min(Math.max(0, atMs - Date.now()), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#dueAtMs = Number.POSITIVE_INFINITY;
      // Nobody waits for this. Whoever looks at the tenant next sees the container again.
      this.#sweep().catch(() => this.#wakeAt(Date.now() + RETRY_MS));
    }, waitMs);
    // A worker that wants to end is not held up: others will do it.
    this.#timer.unref();
  }

  async #sweep(): Promise<void> {
    const { signal } = new AbortController();
    const { keys } = this.#tenant;
    const { clockOffsetMs } = await this.#engine.daemon(signal);
    const infos = await this.#engine.containers(
      { label: [keys.instance, keys.tenant] },
      { all: true, signal },
    );
    const retired = infos.flatMap((info) => {
      const owner = {
        instanceId: info.Labels[keys.instance] ?? "",
        tenantId: info.Labels[keys.tenant] ?? "",
      };
      if (!isOwner(owner)) return [];
      const container = ownContainer(this.#tenant, owner, info);
      return container === null || container.retiredUntilSeconds === null ? [] : [container];
    });
    const nowSeconds = (Date.now() + clockOffsetMs) / 1_000;
    const expired = retired.filter(({ retiredUntilSeconds }) => (retiredUntilSeconds ?? 0) <= nowSeconds);
    const queue = [...expired];
    const lane = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        await this.#engine.stop(next.id, signal);
        await this.#engine.remove(next.id, signal);
      }
    };
    await Promise.all(Array.from({ length: SWEEP_CONCURRENCY }, lane));
    this.notice(
      retired.filter((container) => !expired.includes(container)),
      clockOffsetMs,
    );
  }
}

function isOwner({
  instanceId,
  tenantId,
}: {
  readonly instanceId: string;
  readonly tenantId: string;
}): boolean {
  return instanceId !== "" && tenantId !== "";
}
