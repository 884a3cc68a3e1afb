/** Chance from a seed: the same seed gives the same sequence on every machine. */

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** A whole number from 0 up to, not including, `below`. */
  int(below: number): number;
  /** Uniform in [low, high). */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  /** In the form of a random uuid, version 4. */
  uuid(): string;
  /** A sequence of its own: what one purpose draws changes nothing for another. */
  fork(purpose: string): Random;
}

/** xoshiro128** over a seed that splitmix32 spreads. */
export function createRandom(seed: number): Random {
  let mixed = seed >>> 0;
  const spread = (): number => {
    mixed = (mixed + 0x9e3779b9) | 0;
    let word = mixed ^ (mixed >>> 16);
    word = Math.imul(word, 0x21f0aaad);
    word ^= word >>> 15;
    word = Math.imul(word, 0x735a2d97);
    return (word ^ (word >>> 15)) >>> 0;
  };
  let [a, b, c, d] = [spread(), spread(), spread(), spread()];
  const word = (): number => {
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  const hex = (): string => word().toString(16).padStart(8, "0");
  const next = (): number => word() / 0x1_0000_0000;
  return {
    next,
    int: (below) => Math.floor(next() * below),
    between: (low, high) => low + next() * (high - low),
    chance: (probability) => next() < probability,
    pick: <T>(items: readonly T[]) => items[Math.floor(next() * items.length)] as T,
    uuid() {
      const [first, second, third, fourth] = [hex(), hex(), hex(), hex()];
      return `${first}-${second.slice(0, 4)}-4${second.slice(5)}-8${third.slice(1, 4)}-${third.slice(4)}${fourth}`;
    },
    fork: (purpose) => createRandom(seed ^ textHash(purpose)),
  };
}

/** FNV-1a, 32 bits. */
export function textHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}
