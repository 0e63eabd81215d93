/** Time that passes when a test says so. */
import type { Clock, Timer } from '../../src/clock.ts';

export class ModelClock implements Clock {
  private time = 0;
  private timers: { at: number; run: () => void }[] = [];

  now = (): number => this.time;
  wallMs = (): number => this.time;

  after(delayMs: number, run: () => void): Timer {
    const timer = { at: this.time + delayMs, run };
    this.timers.push(timer);
    return { cancel: () => (this.timers = this.timers.filter((other) => other !== timer)) };
  }

  advance(ms: number): void {
    this.time += ms;
    for (const timer of this.timers.filter(({ at }) => at <= this.time)) {
      this.timers = this.timers.filter((other) => other !== timer);
      timer.run();
    }
  }
}
