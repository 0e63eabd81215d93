/**
 * Follows a run of steps while it goes on and tells when one was not held. A
 * step is judged by all its seconds but the first, in which the rate changes.
 */
import { addUp, millisecondsAt } from './latency.ts';
import { opsUntil, type Stretch } from './rate.ts';
import type { Second } from './timeline.ts';

export interface StepLimits {
  readonly p95Ms: number;
  /** Answers of the ops that were due, 0–1. */
  readonly achieved: number;
  /** Refused acquires have no release, so that fewer ops are due than the rate says: those that were sent count. */
  readonly isRefusable: boolean;
}

export interface StepFound {
  /** Ops a second that were due. */
  readonly rate: number;
  readonly achieved: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
  readonly held: boolean;
}

export class Knee {
  readonly #stretches: readonly Stretch[];
  readonly #limits: StepLimits;
  readonly #seconds: Second[] = [];
  readonly found: StepFound[] = [];
  /** When the current step began, in seconds of the measured time. */
  #beganAt = 0;

  /** @param stretches each of at least two seconds */
  constructor(stretches: readonly Stretch[], limits: StepLimits) {
    this.#stretches = stretches;
    this.#limits = limits;
  }

  /** The highest rate that was held, 0 if none. */
  get rate(): number {
    return this.found.findLast((step) => step.held)?.rate ?? 0;
  }

  /** The next second of the measured time, of all processes; returns whether to go on. */
  see(second: Second): boolean {
    const stretch = this.#stretches[this.found.length];
    if (stretch === undefined) return false;
    const skipped = this.#beganAt + 1;
    if (second.atSeconds > skipped + 1e-6) this.#seconds.push(second);
    if (second.atSeconds < this.#beganAt + stretch.seconds - 1e-6) return true;
    if (this.#seconds.length > 0) this.found.push(this.#judge(stretch, second.atSeconds - skipped));
    this.#seconds.length = 0;
    this.#beganAt += stretch.seconds;
    return this.found.at(-1)?.held ?? true;
  }

  #judge(stretch: Stretch, seconds: number): StepFound {
    const rate = opsUntil([stretch], stretch.seconds) / stretch.seconds;
    const all = addUp(
      this.#seconds.map((second) => second.histogram),
      2,
    );
    const sum = (of: 'sent' | 'answered' | 'errors'): number =>
      this.#seconds.reduce((n, second) => n + second[of], 0);
    const achieved = sum('answered') / seconds;
    const due = this.#limits.isRefusable ? sum('sent') / seconds : rate;
    const p95Ms = millisecondsAt(all, 95);
    return {
      rate,
      achieved,
      p50Ms: millisecondsAt(all, 50),
      p95Ms,
      p99Ms: millisecondsAt(all, 99),
      errors: sum('errors'),
      held: achieved >= this.#limits.achieved * due && p95Ms <= this.#limits.p95Ms,
    };
  }
}
