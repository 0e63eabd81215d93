/**
 * What happened in each second of a run. A second's latencies are those of the
 * answers that came in it, so that it is complete when it ends: it can be
 * shown while the run goes on, and a long run keeps about 1 KB of it.
 */
import type { Histogram } from 'hdr-histogram-js';
import { addUp, encode, millisecondsAt, newHistogram } from './latency.ts';

/** A run keeps at most about this many; longer ones put several seconds into one. */
const SECONDS_KEPT = 3_600;
const DIGITS = 2;

export interface Second {
  /**
   * The end of that second since the start of the measured time. Of runs over
   * an hour, and of the last one of a run that was stopped, more or less than
   * a second after the one before it.
   */
  readonly atSeconds: number;
  /** Ops that were sent in it. */
  readonly sent: number;
  /** Expected answers that came in it. */
  readonly answered: number;
  readonly errors: number;
  /** Of the answers that came in it, from the intended time of their ops; 0 without any. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** HdrHistogram of two digits, compressed, base64: the seconds of several processes are merged from these. */
  readonly histogram: string;
}

/** How many seconds one entry of the timeline stands for. */
export function secondsEach(seconds: number): number {
  return Math.max(1, Math.ceil(seconds / SECONDS_KEPT));
}

/** The second that is running. */
export class RunningSecond {
  readonly #histogram = newHistogram(DIGITS);
  sent = 0;
  errors = 0;
  #answered = 0;

  /** `isApart`: their latency does not count. */
  answered(us: number, ops: number, isApart = false): void {
    this.#answered += ops;
    if (!isApart) this.#histogram.recordValueWithCount(us, ops);
  }

  /** What it was, and starts the next one. */
  end(atSeconds: number): Second {
    const counts = { sent: this.sent, answered: this.#answered, errors: this.errors };
    const second = secondOf(atSeconds, counts, this.#histogram);
    this.#histogram.reset();
    this.sent = 0;
    this.#answered = 0;
    this.errors = 0;
    return second;
  }
}

/** Parts of one time, or of times that follow each other, as one that ends at `atSeconds`. */
export function mergeSeconds(parts: readonly Second[], atSeconds: number): Second {
  const sum = (of: 'sent' | 'answered' | 'errors'): number => parts.reduce((n, part) => n + part[of], 0);
  const all = addUp(
    parts.map((part) => part.histogram),
    DIGITS,
  );
  const counts = { sent: sum('sent'), answered: sum('answered'), errors: sum('errors') };
  return secondOf(atSeconds, counts, all);
}

/** Timelines of processes that ran side by side, second by second. */
export function mergeTimelines(timelines: readonly (readonly Second[])[]): Second[] {
  const bySecond = new Map<number, Second[]>();
  for (const second of timelines.flat()) {
    const number = numberOf(second);
    bySecond.set(number, [...(bySecond.get(number) ?? []), second]);
  }
  return [...bySecond.values()].map(mergeSideBySide).sort((a, b) => a.atSeconds - b.atSeconds);
}

/** Which second it is: processes that are stopped end their last one at slightly different times. */
export function numberOf({ atSeconds }: Second): number {
  return Math.ceil(atSeconds - 1e-6);
}

export function mergeSideBySide(parts: readonly Second[]): Second {
  return parts.length === 1
    ? parts[0]
    : mergeSeconds(parts, Math.max(...parts.map((part) => part.atSeconds)));
}

function secondOf(
  atSeconds: number,
  counts: Pick<Second, 'sent' | 'answered' | 'errors'>,
  histogram: Histogram,
): Second {
  return {
    atSeconds,
    ...counts,
    p50Ms: millisecondsAt(histogram, 50),
    p95Ms: millisecondsAt(histogram, 95),
    p99Ms: millisecondsAt(histogram, 99),
    maxMs: histogram.maxValue / 1000,
    histogram: encode(histogram),
  };
}

/** One line for people, while it runs. */
export function progressLine(second: Second, open: number, errorsSoFar: number): string {
  const at = second.atSeconds;
  const ms = (value: number): string => value.toFixed(1);
  return (
    `${at.toFixed(0).padStart(4)} s  sent ${second.sent}  answered ${second.answered}  ` +
    `p50 ${ms(second.p50Ms)} p95 ${ms(second.p95Ms)} p99 ${ms(second.p99Ms)} max ${ms(second.maxMs)} ms  ` +
    `open ${open}  errors ${errorsSoFar}`
  );
}
