/** What is due later, the earliest first: a binary heap. */
export class Due<T> {
  readonly #times: number[] = [];
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(at: number, item: T): void {
    let i = this.#items.length;
    for (let up = (i - 1) >> 1; i > 0 && this.#times[up] > at; up = (i - 1) >> 1) {
      this.#move(up, i);
      i = up;
    }
    this.#times[i] = at;
    this.#items[i] = item;
  }

  /** When the first is due; Infinity when there is none. */
  get nextAt(): number {
    return this.#times[0] ?? Infinity;
  }

  /** Takes the first out; there must be one. */
  shift(): T {
    const first = this.#items[0];
    const at = this.#times.pop()!;
    const item = this.#items.pop()!;
    const { length } = this.#items;
    if (length === 0) return first;
    let i = 0;
    for (let down = 1; down < length; down = 2 * i + 1) {
      if (down + 1 < length && this.#times[down + 1] < this.#times[down]) down++;
      if (this.#times[down] >= at) break;
      this.#move(down, i);
      i = down;
    }
    this.#times[i] = at;
    this.#items[i] = item;
    return first;
  }

  #move(from: number, to: number): void {
    this.#times[to] = this.#times[from];
    this.#items[to] = this.#items[from];
  }
}
