/** Transitions in the order of their positions: what watching lives on. */
import type { Transition } from "./store.ts";

/** A transition that the sequencer has seen. */
export interface SequencedTransition extends Transition {
  readonly position: number;
}

/** What the sequencer did at once. */
export interface Sequenced {
  /** Transitions that got their position. */
  readonly count: number;
  /** They, in order, after the newest one before them if there is one: what `listEvents` from there answers. */
  readonly events: readonly SequencedTransition[];
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
