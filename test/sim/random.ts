/**
 * Chance with a seed: the only source of it in a simulation, so that a seed is
 * a whole run. The generator is sfc32; `fork` gives each part a stream of its
 * own, so that one more draw in one part does not reshuffle all others.
 */

/** 32 bits out of a text and a number, well mixed (FNV-1a, then a finalizer). */
function mix(seed: number, label: string): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let i = 0; i < label.length; i++) hash = Math.imul(hash ^ label.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export class Random {
  readonly #seed: number;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, label = '') {
    this.#seed = mix(seed | 0, label);
    this.#a = mix(this.#seed, 'a');
    this.#b = mix(this.#seed, 'b');
    this.#c = mix(this.#seed, 'c');
    for (let i = 0; i < 12; i++) this.#draw();
  }

  /** A stream of its own that depends on the seed and `label`, not on what was drawn so far. */
  fork(label: string): Random {
    return new Random(this.#seed, label);
  }

  /** [0, 1) */
  next(): number {
    return this.#draw() / 2 ** 32;
  }

  /** A whole number of [0, bound). */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  /** [low, high) */
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** Mostly near `typical`, now and then many times that: the shape that delays have. */
  delay(typical: number): number {
    const u = this.next();
    return typical * (0.5 + u + (u > 0.95 ? 20 * (u - 0.95) * this.next() * 20 : 0));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  hex(bytes: number): string {
    let text = '';
    for (let i = 0; i < bytes; i++) text += this.below(256).toString(16).padStart(2, '0');
    return text;
  }

  #draw(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (this.#c << 21) | (this.#c >>> 11);
    this.#c = (this.#c + sum) | 0;
    return sum >>> 0;
  }
}
