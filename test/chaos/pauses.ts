/** How long nothing was answered: gaps between answers, by who asked and about what. Times in ms. */

/** Answers that came, in the order of their coming. */
export class AnswerLog {
  readonly #at: number[] = [];
  readonly #group: number[] = [];
  readonly #process: number[] = [];

  add(at: number, group: number, process: number): void {
    this.#at.push(at);
    this.#group.push(group);
    this.#process.push(process);
  }

  /** The longest gaps between two answers, or between an answer and an end of [from, to). */
  pauses(from: number, to: number, groups: number, processes: number): Pauses {
    const all = new Gaps(1, from);
    const byGroup = new Gaps(groups, from);
    const byProcess = new Gaps(processes, from);
    let count = 0;
    for (let i = firstFrom(this.#at, from); i < this.#at.length && this.#at[i] < to; i++) {
      count++;
      all.answered(0, this.#at[i]);
      byGroup.answered(this.#group[i], this.#at[i]);
      byProcess.answered(this.#process[i], this.#at[i]);
    }
    return {
      answers: count,
      allMs: all.longest(to)[0],
      byGroupMs: byGroup.longest(to),
      byProcessMs: byProcess.longest(to),
    };
  }
}

export interface Pauses {
  readonly answers: number;
  /** The longest time without any answer. */
  readonly allMs: number;
  /** The longest time without an answer on each group of slots. */
  readonly byGroupMs: readonly number[];
  /** The longest time without an answer from each process. */
  readonly byProcessMs: readonly number[];
}

class Gaps {
  readonly #last: number[];
  readonly #longest: number[];

  constructor(count: number, from: number) {
    this.#last = Array.from({ length: count }, () => from);
    this.#longest = Array.from({ length: count }, () => 0);
  }

  answered(series: number, at: number): void {
    this.#longest[series] = Math.max(this.#longest[series], at - this.#last[series]);
    this.#last[series] = at;
  }

  longest(to: number): number[] {
    return this.#longest.map((gap, series) => Math.max(gap, to - this.#last[series]));
  }
}

/** Place of the first number ≥ `from` in a rising list. */
function firstFrom(rising: readonly number[], from: number): number {
  let low = 0;
  let high = rising.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] < from) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** 0.5 = the median; 0 of nothing. */
export function quantile(values: readonly number[], part: number): number {
  if (values.length === 0) return 0;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
}
