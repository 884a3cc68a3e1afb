/**
 * Faults at the border of a process. Every call that a provider makes to the outside world passes through
 * `Faults.call`; a plan says which of them goes wrong, and how. What a process does between two effects leaves no
 * trace, so to die after effect k is also to die anywhere before effect k + 1.
 */

/**
 * - `crash`: the process dies after its `after`-th effect: the answer and all later calls are lost.
 * - `lost_answer`: effect `after` takes place, its answer is lost, and the process goes on.
 * - `duplicated`: effect `after` takes place twice; the second answer arrives.
 */
export interface FaultPlan {
  readonly kind: "crash" | "lost_answer" | "duplicated";
  /** Counted from 1; 0 with `crash` dies before anything happened. */
  readonly after: number;
}

/** The call did not come through, as far as its caller can tell. */
export class CallLostError extends Error {
  readonly code = "ECONNRESET";

  constructor(name: string, why: string) {
    super(`${why}: ${name}`);
    this.name = "CallLostError";
  }
}

/** The border of one simulated process. */
export class Faults {
  readonly #plan: FaultPlan | null;
  #effects = 0;
  #isDead = false;
  #fired = false;
  readonly #running = new Set<Promise<unknown>>();

  constructor(plan: FaultPlan | null = null) {
    this.#plan = plan;
    if (plan?.kind === "crash" && plan.after === 0) {
      this.#isDead = true;
      this.#fired = true;
    }
  }

  /** Resolves when no call is under way: what a dead process had begun may still take place after its death. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  /** Effects that took place so far. */
  get effects(): number {
    return this.#effects;
  }

  /** The plan was carried out. */
  get fired(): boolean {
    return this.#fired;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /**
   * Performs one call to the outside world, or what the plan makes of it.
   *
   * @param isEffect false for a call that changes nothing; it fails with a dead process only
   * @throws CallLostError where the plan says so
   */
  call<T>(name: string, perform: () => Promise<T>, isEffect = true): Promise<T> {
    const running = this.#call(name, perform, isEffect);
    this.#running.add(running);
    const forget = (): boolean => this.#running.delete(running);
    running.then(forget, forget);
    return running;
  }

  async #call<T>(name: string, perform: () => Promise<T>, isEffect: boolean): Promise<T> {
    if (this.#isDead) throw new CallLostError(name, "the process is dead");
    if (!isEffect) {
      const answer = await perform();
      if (this.#isDead) throw new CallLostError(name, "the process died meanwhile");
      return answer;
    }
    this.#effects += 1;
    const isHit = this.#plan !== null && this.#plan.after === this.#effects;
    if (!isHit) {
      const answer = await perform();
      if (this.#isDead) throw new CallLostError(name, "the process died meanwhile");
      return answer;
    }
    this.#fired = true;
    switch (this.#plan.kind) {
      case "crash":
        this.#isDead = true;
        await perform().catch(() => undefined);
        throw new CallLostError(name, "the process died before the answer came");
      case "lost_answer":
        await perform().catch(() => undefined);
        throw new CallLostError(name, "the answer was lost");
      case "duplicated":
        await perform().catch(() => undefined);
        return perform();
    }
  }
}
