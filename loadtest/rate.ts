/**
 * The rate as a function of time: stretches that follow each other, in each of
 * which it changes evenly. Arrivals come where its integral reaches the next
 * whole number, so that they depend on nothing but the clock.
 */

export interface Stretch {
  readonly seconds: number;
  /** Ops a second at its begin and its end. */
  readonly from: number;
  readonly to: number;
}

export function secondsOf(stretches: readonly Stretch[]): number {
  return stretches.reduce((sum, { seconds }) => sum + seconds, 0);
}

/** Ops that are due in the first `seconds`. */
export function opsUntil(stretches: readonly Stretch[], seconds: number): number {
  let ops = 0;
  let left = seconds;
  for (const stretch of stretches) {
    const part = Math.min(left, stretch.seconds);
    if (part <= 0) break;
    const slope = (stretch.to - stretch.from) / stretch.seconds;
    ops += stretch.from * part + (slope * part * part) / 2;
    left -= part;
  }
  return ops;
}

/** The times at which clients arrive, one after the other. */
export class Arrivals {
  readonly #stretches: readonly Stretch[];
  readonly #opsEach: number;
  #stretch = 0;
  /** When the stretch began (ms), and the arrivals that were due by then. */
  #beganAt: number;
  #before = 0;
  #next: number;
  /** The next one, in ms; Infinity when there are no more. */
  nextAt = 0;

  /**
   * @param opsEach ops that an arrival stands for
   * @param phase 0 up to 1: shifts the arrivals between those of other processes of the same rate
   */
  constructor(stretches: readonly Stretch[], opsEach: number, startMs: number, phase = 0) {
    this.#stretches = stretches;
    this.#opsEach = opsEach;
    this.#beganAt = startMs;
    this.#next = phase;
    this.nextAt = this.#find();
  }

  shift(): void {
    this.#next++;
    this.nextAt = this.#find();
  }

  #find(): number {
    for (; this.#stretch < this.#stretches.length; this.#stretch++) {
      const { seconds, from, to } = this.#stretches[this.#stretch];
      const count = ((from + to) * seconds) / 2 / this.#opsEach;
      const wanted = this.#next - this.#before;
      if (wanted < count) return this.#beganAt + 1000 * this.#within(wanted * this.#opsEach);
      this.#beganAt += seconds * 1000;
      this.#before += count;
    }
    return Infinity;
  }

  /** Seconds into the stretch at which `ops` are due. */
  #within(ops: number): number {
    const { seconds, from, to } = this.#stretches[this.#stretch];
    const slope = (to - from) / seconds;
    const root = Math.sqrt(Math.max(0, from * from + 2 * slope * ops));
    return ops === 0 ? 0 : (2 * ops) / (from + root);
  }
}
