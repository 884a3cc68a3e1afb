/**
 * Who takes part, and how calls travel between them. A process has a memory that ends with it: whatever is delivered
 * to one that died is dropped, so nothing of it ever runs again. One that is frozen gets everything later.
 */
import type { Runtime } from "../packages/landlord/src/reconciler/runtime.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Trace } from "./trace.ts";

/** One life of a party. A restart is a new life with an empty memory. */
export interface Life {
  /** `server-1`, `worker-2`, `client-3`, `engine`, … */
  readonly party: string;
  readonly number: number;
  isOver: boolean;
  /** While it is frozen: what came meanwhile. Null when it is not. */
  held: (() => void)[] | null;
}

export function newLife(party: string, number = 1): Life {
  return { party, number, isOver: false, held: null };
}

/** What came meanwhile comes now, in whatever order. */
export function thaw(life: Life, scheduler: Scheduler): void {
  const held = life.held ?? [];
  life.held = null;
  for (const effect of held) scheduler.after(0, 0, effect);
}

/** What goes wrong with one call. */
export interface CallFault {
  readonly kind:
    | "lost_call"
    | "lost_answer"
    | "delayed_call"
    | "delayed_answer"
    | "duplicated_call"
    | "crash_before"
    | "crash_after";
  readonly delayMs: number;
}

export interface Call {
  readonly from: Life;
  /** The party that is called. */
  readonly to: string;
  readonly name: string;
  /** The caller hears nothing for so long: then the call has failed for it. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** At the far end. What it throws travels back like an answer. */
  readonly perform: () => unknown;
  /** The error of a call that did not come through. */
  readonly failure: (reason: string) => Error;
}

/** What the network asks before it moves anything. */
export interface Conditions {
  /** A fault that waits for a call like this one; asking takes it. */
  readonly faultFor: (from: string, to: string, name: string) => CallFault | null;
  readonly isReachable: (from: string, to: string) => boolean;
  readonly crash: (party: string) => void;
}

export interface Network {
  call<T>(call: Call): Promise<T>;
  /** Runs `effect` in this life, `delayMs` from now: not if it is over by then, and later if it is frozen. */
  readonly deliver: (life: Life, delayMs: number, effect: () => void, activity?: number) => () => void;
  /** Calls and effects that a fault holds up, and that are yet to arrive. */
  readonly late: LateCounter;
}

/** Counts what is yet to come. */
export interface LateCounter {
  readonly count: number;
  /** Something comes in `delayMs`. */
  add(delayMs: number): void;
}

function createLateCounter(scheduler: Scheduler): LateCounter {
  let count = 0;
  return {
    get count() {
      return count;
    },
    add(delayMs) {
      count += 1;
      scheduler.after(delayMs, 0, () => (count -= 1));
    },
  };
}

const LATENCY_MS = { low: 0.2, high: 4 };
/** The share of calls that take much longer for no reason. */
const SLOW_SHARE = 0.04;
const SLOW_MS = { low: 20, high: 400 };

export function createNetwork(
  scheduler: Scheduler,
  random: Random,
  conditions: Conditions,
  trace: Trace,
): Network {
  const late = createLateCounter(scheduler);
  let calls = 0;

  const latency = (): number =>
    random.chance(SLOW_SHARE)
      ? random.between(SLOW_MS.low, SLOW_MS.high)
      : random.between(LATENCY_MS.low, LATENCY_MS.high);

  function deliver(life: Life, delayMs: number, effect: () => void, activity = 0): () => void {
    let isCancelled = false;
    const cancel = scheduler.after(delayMs, activity, function arrive() {
      if (life.isOver || isCancelled) return;
      if (life.held === null) effect();
      else life.held.push(arrive);
    });
    return () => {
      // What is held is not scheduled any more.
      isCancelled = true;
      cancel();
    };
  }

  function call<T>(params: Call): Promise<T> {
    const fault = conditions.faultFor(params.from.party, params.to, params.name);
    return new Promise<T>((resolve, reject) => {
      const settle = { resolve: resolve as (value: unknown) => void, reject };
      new OpenCall(
        params,
        settle,
        fault,
        { scheduler, conditions, trace, late, latency, deliver },
        ++calls,
      ).begin();
    });
  }

  return { call, deliver, late };
}

interface Ways {
  readonly scheduler: Scheduler;
  readonly conditions: Conditions;
  readonly trace: Trace;
  readonly late: LateCounter;
  readonly latency: () => number;
  readonly deliver: Network["deliver"];
}

interface Settle {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** A call under way. A class, and not closures: there are thousands in a run. */
class OpenCall {
  readonly #call: Call;
  readonly #settle: Settle;
  readonly #fault: CallFault | null;
  readonly #ways: Ways;
  readonly #activity: number;
  readonly #onAbort: () => void;
  #isOver = false;
  #cancelTimeout: (() => void) | null = null;

  constructor(call: Call, settle: Settle, fault: CallFault | null, ways: Ways, activity: number) {
    this.#call = call;
    this.#settle = settle;
    this.#fault = fault;
    this.#ways = ways;
    this.#activity = activity;
    this.#onAbort = () => this.#fail("aborted");
  }

  begin(): void {
    const { from, to, name, timeoutMs, signal } = this.#call;
    const { deliver, trace, conditions, latency, late } = this.#ways;
    const fault = this.#fault;
    this.#cancelTimeout = deliver(from, timeoutMs, () => this.#fail("no answer in time"), this.#activity);
    if (signal !== undefined) {
      if (signal.aborted) return this.#fail("aborted");
      signal.addEventListener("abort", this.#onAbort);
    }
    if (fault !== null) {
      trace(from.party, () => `! ${fault.kind} ${to}.${name} (${Math.round(fault.delayMs)} ms)`);
      late.add(fault.delayMs + SLOW_MS.high);
      if (fault.kind === "crash_before") return conditions.crash(from.party);
      if (fault.kind === "lost_call") return;
    }
    this.#send(latency() + (fault?.kind === "delayed_call" ? fault.delayMs : 0));
    if (fault?.kind === "duplicated_call") this.#send(latency() + fault.delayMs);
  }

  #send(delayMs: number): void {
    this.#ways.scheduler.after(delayMs, this.#activity, () => this.#arrive());
  }

  /** At the far end: performs the call and sends back what came of it. */
  #arrive(): void {
    const { from, to, perform } = this.#call;
    const { conditions, deliver, latency } = this.#ways;
    if (!conditions.isReachable(from.party, to)) {
      // Mostly a connection is refused at once; sometimes nobody says anything.
      if (this.#activity % 10 < 7) deliver(from, latency(), () => this.#fail("unreachable"), this.#activity);
      return;
    }
    let result: unknown;
    try {
      result = perform();
    } catch (error) {
      this.#answer(() => this.#settle.reject(error));
      return;
    }
    if (result instanceof Promise) {
      result.then(
        (value: unknown) => this.#answer(() => this.#settle.resolve(value)),
        (error: unknown) => this.#answer(() => this.#settle.reject(error)),
      );
    } else this.#answer(() => this.#settle.resolve(result));
  }

  #answer(settle: () => void): void {
    const { from, to } = this.#call;
    const { conditions, deliver, latency } = this.#ways;
    const fault = this.#fault;
    if (fault?.kind === "crash_after") return conditions.crash(from.party);
    if (fault?.kind === "lost_answer" || !conditions.isReachable(to, from.party)) return;
    const delayMs = latency() + (fault?.kind === "delayed_answer" ? fault.delayMs : 0);
    deliver(from, delayMs, () => this.#end(settle), this.#activity);
  }

  #fail(reason: string): void {
    const { from, to, name, failure } = this.#call;
    if (this.#isOver) return;
    this.#ways.trace(from.party, () => `${to}.${name} failed: ${reason}`);
    this.#end(() => this.#settle.reject(failure(reason)));
  }

  #end(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimeout?.();
    this.#call.signal?.removeEventListener("abort", this.#onAbort);
    settle();
  }
}

/** One for all: to make one each time costs more than everything else about a timeout. */
const TIMED_OUT = new DOMException("The operation was aborted due to timeout", "TimeoutError");

/** Time and chance as a process sees them. */
export function runtimeOf(life: Life, scheduler: Scheduler, network: Network, random: Random): Runtime {
  return {
    monotonicMs: () => scheduler.nowMs,
    schedule: (delayMs, callback) => network.deliver(life, delayMs, callback),
    timeout(timeoutMs) {
      const controller = new AbortController();
      network.deliver(life, timeoutMs, () => controller.abort(TIMED_OUT));
      return controller.signal;
    },
    random: () => random.next(),
    newId: () => random.uuid(),
  };
}
