/**
 * Waits for what becomes of a tenant without asking again and again: the tenant is read when the wait begins, and then
 * only when an event of it comes. Whoever waits is registered before the first read, so no change falls in between.
 */
import type { WaitGoal } from "../contract/events.ts";
import { isSettled } from "../domain/status.ts";
import type { Tenant } from "../domain/tenant.ts";
import type { StoredTenant, TenantStore } from "../store/store.ts";
import type { EventFeed, FeedListener } from "./event-feed.ts";

export interface Wait {
  readonly idOrName: string;
  /** True ends the wait. */
  readonly isOver: (stored: StoredTenant) => boolean;
  readonly timeoutMs: number;
  /** Whoever waits has gone. */
  readonly signal: AbortSignal;
  /** The tenant is not there yet: from here on nothing is done but waiting. What it throws ends the wait. */
  readonly onWaiting: () => void;
}

export interface Waiting {
  /** The tenant when the wait was over, the time was up, or the server stopped; null when there is none (any more). */
  until(wait: Wait): Promise<StoredTenant | null>;
  /** Nobody waits here any more. */
  isStopped(): boolean;
}

/** Reasons of transitions that change nothing that anybody waits for: the tenant has set out, and keeps its labels. */
const NO_END: ReadonlySet<string> = new Set(["created", "operation_started"]);

/** A failed tenant stays as it is until somebody asks for something else: every wait ends there. */
export function isWaitOver(goal: WaitGoal, tenant: Tenant): boolean {
  if (tenant.status === "failed") return true;
  switch (goal) {
    case "ready":
    case "archived":
      return tenant.status === goal && tenant.observedGeneration >= tenant.generation;
    case "deleted":
      return false;
    case "settled":
      return isSettled(tenant);
  }
}

export function createWaiting(feed: EventFeed, store: Pick<TenantStore, "getTenant">): Waiting {
  /** By uuid, or by name until the uuid is known. */
  const sleepers = new Map<string, Set<() => void>>();
  const reads = new Map<string, { readonly seen: string; readonly answer: Promise<StoredTenant | null> }>();
  let leave: (() => void) | null = null;
  let isStopped = false;
  const listener: FeedListener = {
    onEvents(events) {
      for (const { tenantId, tenantName, reason } of events) {
        if (NO_END.has(reason)) continue;
        for (const wake of [...(sleepers.get(tenantId) ?? []), ...(sleepers.get(tenantName) ?? [])]) wake();
      }
    },
    onTouched(tenantId) {
      for (const wake of sleepers.get(tenantId) ?? []) wake();
    },
    onEnd(end) {
      isStopped = end === "stopped";
      leave = isStopped ? null : feed.listen(listener);
      for (const wake of [...sleepers.values()].flatMap((wakes) => [...wakes])) wake();
    },
  };

  function register(key: string, wake: () => void): void {
    leave ??= feed.listen(listener);
    const own = sleepers.get(key) ?? new Set();
    sleepers.set(key, own.add(wake));
  }

  function unregister(key: string, wake: () => void): void {
    const own = sleepers.get(key);
    own?.delete(wake);
    if (own?.size === 0) sleepers.delete(key);
    if (sleepers.size > 0) return;
    leave?.();
    leave = null;
  }

  /** Many may wait for one tenant: a read that began after the newest event serves all of them. */
  function read(idOrName: string): Promise<StoredTenant | null> {
    const seen = isStopped ? "" : feed.newest().fingerprint;
    const known = reads.get(idOrName);
    if (known?.seen === seen) return known.answer;
    const answer = store.getTenant({ idOrName }).finally(() => {
      if (reads.get(idOrName)?.answer === answer) reads.delete(idOrName);
    });
    reads.set(idOrName, { seen, answer });
    return answer;
  }

  return {
    isStopped: () => isStopped,

    async until({ idOrName, isOver, timeoutMs, signal, onWaiting }) {
      const alarm = createAlarm(timeoutMs, signal);
      // By uuid once it is known: a name may be given to another tenant after a delete.
      let key = idOrName;
      let isWaiting = false;
      register(key, alarm.ring);
      try {
        for (;;) {
          alarm.reset();
          const stored = await read(key);
          if (stored === null || isOver(stored) || alarm.isOff() || isStopped) return stored;
          if (stored.tenant.id !== key) {
            unregister(key, alarm.ring);
            key = stored.tenant.id;
            register(key, alarm.ring);
            // What came under another name was not heard until now.
            continue;
          }
          if (!isWaiting) onWaiting();
          isWaiting = true;
          await alarm.wait();
          if (signal.aborted) return stored;
        }
      } finally {
        alarm.cancel();
        unregister(key, alarm.ring);
      }
    },
  };
}

/** Rings when it is rung, once when the time is up, and when the signal aborts. */
function createAlarm(
  timeoutMs: number,
  signal: AbortSignal,
): { readonly ring: () => void; reset(): void; wait(): Promise<void>; isOff(): boolean; cancel(): void } {
  let rung = false;
  let off = false;
  let wakeUp: () => void = () => undefined;
  const ring = (): void => {
    rung = true;
    wakeUp();
  };
  const turnOff = (): void => {
    off = true;
    ring();
  };
  const timer = setTimeout(turnOff, timeoutMs);
  signal.addEventListener("abort", turnOff, { once: true });
  return {
    ring,
    reset: () => void (rung = false),
    wait: () => (rung ? Promise.resolve() : new Promise((resolve) => (wakeUp = resolve))),
    isOff: () => off,
    cancel() {
      clearTimeout(timer);
      signal.removeEventListener("abort", turnOff);
    },
  };
}
