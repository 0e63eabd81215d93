/**
 * Time, as everything in Holdfast sees it: one monotonic clock that all
 * threads of a process share, and timers on it. The simulation brings its own.
 */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /**
   * Milliseconds (with fractions) on the monotonic clock. Comparable between
   * the threads of one process, meaningless between processes.
   */
  now(): number;
  /** Milliseconds of wall-clock time since 1970, for people and logs only: it may jump. */
  wallMs(): number;
  /** Calls `run` once, no sooner than `delayMs` from now. */
  after(delayMs: number, run: () => void): Timer;
}

/**
 * `process.hrtime` and not `performance.now`: the latter starts at another
 * origin in each worker thread.
 */
export const systemClock: Clock = {
  now() {
    const [seconds, nanos] = process.hrtime();
    return seconds * 1000 + nanos / 1e6;
  },
  wallMs: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves once `delayMs` have passed on `clock`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.after(delayMs, resolve));
}
