/** Time that passes from one timer to the next, in their order. */
import type { Clock, Timer } from '../../src/clock.ts';

interface Due {
  readonly at: number;
  /** Of equal times, the one that was set first is first. */
  readonly order: number;
  run: (() => void) | undefined;
}

const isBefore = (a: Due, b: Due): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

export class SteppedClock implements Clock {
  private time = 1_000;
  private order = 0;
  /** A binary heap: no element is before its parent, that at (i − 1) / 2. */
  private readonly due: Due[] = [];

  now = (): number => this.time;
  wallMs = (): number => this.time;

  after(delayMs: number, run: () => void): Timer {
    const timer: Due = { at: this.time + Math.max(0, delayMs), order: this.order++, run };
    const { due } = this;
    let i = due.push(timer) - 1;
    for (let parent = (i - 1) >> 1; i > 0 && isBefore(timer, due[parent]); parent = (i - 1) >> 1) {
      due[i] = due[parent];
      i = parent;
    }
    due[i] = timer;
    return { cancel: () => (timer.run = undefined) };
  }

  /** Runs all that is due within `ms`. */
  advance(ms: number): void {
    const until = this.time + ms;
    while (this.due.length > 0 && this.due[0].at <= until) {
      const { at, run } = this.takeFirst();
      this.time = Math.max(this.time, at);
      run?.();
    }
    this.time = until;
  }

  private takeFirst(): Due {
    const { due } = this;
    const first = due[0];
    const last = due.pop()!;
    if (due.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child + 1 < due.length && isBefore(due[child + 1], due[child])) child++;
      if (child >= due.length || !isBefore(due[child], last)) break;
      due[i] = due[child];
      i = child;
    }
    due[i] = last;
    return first;
  }
}
