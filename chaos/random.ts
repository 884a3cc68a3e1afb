/** Choices from a seed: the same seed chooses the same, whatever the clock does in between. */

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform over the whole numbers from `low` to `high`, both included. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(choices: readonly T[]): T;
  /** Picks by weight; weights are not negative and not all zero. */
  weighted<T>(choices: readonly (readonly [weight: number, choice: T])[]): T;
  /** A stream of its own, so that several actors do not take each other's choices. */
  fork(name: string): Random;
}

/** mulberry32: 32 bits of state are plenty for a choice of victims. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1));
  return {
    next,
    between,
    chance: (probability) => next() < probability,
    pick<T>(choices: readonly T[]): T {
      if (choices.length === 0) throw new Error("there is nothing to choose from");
      return choices[between(0, choices.length - 1)] as T;
    },
    weighted<T>(choices: readonly (readonly [number, T])[]): T {
      let left = next() * choices.reduce((sum, [weight]) => sum + weight, 0);
      for (const [weight, choice] of choices) {
        left -= weight;
        if (left < 0) return choice;
      }
      throw new Error("there is nothing to choose from");
    },
    fork: (name) => createRandom(hashOf(`${seed}/${name}`)),
  };
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
