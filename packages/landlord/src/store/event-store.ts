/** Transitions in the order of their positions: what watching lives on. */
import type { Transition } from "./store.ts";

/** A transition that the sequencer has seen. */
export interface SequencedTransition extends Transition {
  readonly position: number;
}

export interface EventStore {
  /**
   * From this position on, itself included, in order; at most `limit`, 1 to 1,000. Positions are gap-free where nothing
   * has outlived its retention, and a row that is there now never gets an earlier neighbour later.
   */
  listEvents(params: {
    readonly from: number;
    readonly limit: number;
  }): Promise<readonly SequencedTransition[]>;
  /** The one with the highest position; null before the first. */
  newestEvent(): Promise<SequencedTransition | null>;
}
