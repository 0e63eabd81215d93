/** How often which of `count` names is asked for: the n-th 1 / n^exponent as often as the first. */
export class Zipf {
  /** By name: the probability that it or one before it is meant. */
  readonly #upTo: Float64Array;

  /** @param exponent 0: all alike */
  constructor(count: number, exponent: number) {
    this.#upTo = new Float64Array(count);
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum += (i + 1) ** -exponent;
      this.#upTo[i] = sum;
    }
    for (let i = 0; i < count; i++) this.#upTo[i] /= sum;
  }

  /** @param random 0 up to 1 */
  pick(random: number): number {
    let low = 0;
    let high = this.#upTo.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#upTo[middle] > random) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
