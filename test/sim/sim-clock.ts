/**
 * A process's clock, a straight line over true time in pieces: its rate is a
 * little wrong, it can stand still, and its wall clock jumps. The timers of the
 * process follow it, not true time.
 *
 * It never runs backwards, and forwards only by `jump`, which no monotonic
 * clock of a healthy machine does: after it TTLs end early by design, so a
 * workload that uses it must not hold the owner to them.
 */
import type { Clock, Timer } from '../../src/clock.ts';
import type { Random } from './random.ts';
import type { Domain, Scheduler, SimEvent } from './scheduler.ts';

interface SimTimer extends Timer {
  readonly due: number;
  readonly run: () => void;
  readonly domain: Domain;
  event: SimEvent | undefined;
}

const WALL_ORIGIN_MS = 1_760_000_000_000;
/** How late a timer may be, in ms: the event loop is busy, the kernel rounds. */
const LATE_MS = 2;

export class SimClock {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  #rate: number;
  #running: number;
  #trueAt: number;
  #localAt: number;
  #wallOffset = 0;
  readonly #timers = new Set<SimTimer>();

  /** `rate`: ms of this clock per true ms, near 1. */
  constructor(scheduler: Scheduler, random: Random, rate: number) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#rate = rate;
    this.#running = rate;
    this.#trueAt = scheduler.now;
    this.#localAt = random.between(0, 1e7);
  }

  now(): number {
    return this.#localAt + (this.#scheduler.now - this.#trueAt) * this.#running;
  }

  /** The true time at which this clock will show `local`, if it goes on as now. */
  trueTimeOf(local: number): number {
    if (this.#running === 0) return Infinity;
    return this.#trueAt + (local - this.#localAt) / this.#running;
  }

  wallMs(): number {
    return WALL_ORIGIN_MS + this.#scheduler.now + this.#wallOffset;
  }

  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  stop(): void {
    this.#turn(0, 0);
  }

  go(): void {
    this.#turn(this.#rate, 0);
  }

  jump(ms: number): void {
    this.#turn(this.#running, ms);
  }

  /** The clock as threads of `domain` use it: timers run in the domain. */
  for(domain: Domain): Clock {
    return {
      now: () => this.now(),
      wallMs: () => this.wallMs(),
      after: (delayMs, run) => this.#after(domain, delayMs, run),
    };
  }

  #after(domain: Domain, delayMs: number, run: () => void): Timer {
    const timer: SimTimer = {
      due: this.now() + Math.max(0, delayMs),
      run,
      domain,
      event: undefined,
      cancel: () => {
        if (timer.event !== undefined) timer.event.cancelled = true;
        this.#timers.delete(timer);
      },
    };
    this.#timers.add(timer);
    this.#arm(timer);
    return timer;
  }

  #arm(timer: SimTimer): void {
    if (timer.event !== undefined) timer.event.cancelled = true;
    timer.event = undefined;
    const at = this.trueTimeOf(timer.due);
    if (at === Infinity) return;
    const wait = at - this.#scheduler.now + this.#random.next() * LATE_MS;
    const label = `${timer.domain.name} timer`;
    timer.event = this.#scheduler.after(wait, label, () => this.#fire(timer), timer.domain, 'timer');
  }

  #fire(timer: SimTimer): void {
    // Paused threads fire late, never early; float rounding may be a hair off.
    if (this.now() < timer.due - 1e-6) return this.#arm(timer);
    this.#timers.delete(timer);
    timer.run();
  }

  #turn(rate: number, jumpMs: number): void {
    this.#localAt = this.now() + jumpMs;
    this.#trueAt = this.#scheduler.now;
    this.#running = rate;
    for (const timer of this.#timers) this.#arm(timer);
  }
}
