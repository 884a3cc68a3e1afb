/** The activities that a worker takes tasks from: made at the engine if they are not there, and never removed. */
import type { SFN } from "@aws-sdk/client-sfn";
import { LandlordError } from "../../domain/errors.ts";

export interface Activities {
  /** Wanted from now on; made with the next `register`. */
  add(names: readonly string[]): void;
  /** Makes all that are wanted. CreateActivity is idempotent by name. */
  register(sfn: SFN): Promise<void>;
  /** Resolves when the engine knows the activity; rejects after `close`. */
  arn(name: string): Promise<string>;
  /** The engine has lost them: nobody has an ARN before the next `register`. */
  forget(): void;
  close(): void;
}

interface Deferred {
  isResolved: boolean;
  readonly promise: Promise<string>;
  readonly resolve: (arn: string) => void;
  readonly reject: (reason: Error) => void;
}

/** Calls of one registration at once. */
const CALLS_AT_ONCE = 4;

export function createActivities(requestTimeoutMs: number): Activities {
  const wanted = new Map<string, Deferred>();
  let closed: Error | null = null;

  function want(name: string): void {
    const arn = deferred();
    if (closed !== null) arn.reject(closed);
    wanted.set(name, arn);
  }

  async function make(sfn: SFN, name: string): Promise<void> {
    const { activityArn } = await sfn.createActivity(
      { name },
      { abortSignal: AbortSignal.timeout(requestTimeoutMs) },
    );
    if (activityArn === undefined) {
      throw new LandlordError("engine_answer_invalid", "Step Functions made an activity without naming it.");
    }
    const arn = wanted.get(name);
    if (arn === undefined) return;
    arn.isResolved = true;
    arn.resolve(activityArn);
  }

  return {
    add(names) {
      for (const name of names) if (!wanted.has(name)) want(name);
    },
    async register(sfn) {
      const names = [...wanted.keys()];
      while (names.length > 0) {
        await Promise.all(names.splice(0, CALLS_AT_ONCE).map((name) => make(sfn, name)));
      }
    },
    async arn(name) {
      const known = wanted.get(name);
      if (known === undefined) throw new LandlordError("unknown_activity", `Nobody asked for ${name}.`);
      return known.promise;
    },
    forget() {
      // What somebody waits for already stays as it is: a new promise would leave them waiting for ever.
      for (const [name, { isResolved }] of wanted) if (isResolved) want(name);
    },
    close() {
      closed = new LandlordError("worker_stopped", "The worker has stopped.");
      for (const { reject } of wanted.values()) reject(closed);
    },
  };
}

function deferred(): Deferred {
  let resolve!: (arn: string) => void;
  let reject!: (reason: Error) => void;
  const promise = new Promise<string>((settle, fail) => {
    resolve = settle;
    reject = fail;
  });
  // Whoever waits hears of a rejection; nobody has to wait.
  promise.catch(() => undefined);
  return { isResolved: false, promise, resolve, reject };
}
