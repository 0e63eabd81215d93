/** What a load run is made of, as its processes get it: plain data. */
import { randomBytes } from 'node:crypto';
import type { ProfileName } from './profile.ts';
import type { Stretch } from './rate.ts';
import type { Protocol } from './result.ts';
import { opsOf, type Step, type Workload } from './workload.ts';

export interface LoadSettings {
  /** `ws://` or `http://`; a password in it is the API key. */
  readonly url: string;
  readonly workload: Workload;
  readonly protocol: Protocol;
  readonly profile: ProfileName;
  /** The measured time. Ops a second of this process. */
  readonly stretches: readonly Stretch[];
  readonly seconds: number;
  /** Runs before the measured time, at the rate with which that begins. */
  readonly warmupSeconds: number;
  readonly sockets: number;
  /** Of prepared frames: exactly so many; of the general engine: at most, and only of what is due at one time. */
  readonly opsPerFrame: number;
  readonly names: number;
  /** A file with names to use, one a line, all of one length; undefined: the driver makes some up. */
  readonly namesFile: string | undefined;
  /** In front of made-up names, the same in all processes of a run. */
  readonly run: string;
  /** All processes use the same names; else each has names of its own. */
  readonly areNamesShared: boolean;
  /** Of the general engine. */
  readonly clients: number;
  /** HTTP: requests on one connection that have no answer yet. */
  readonly pipelining: number;
  /** The clock is looked at all the time, not each millisecond: a whole core, for latencies far below one. */
  readonly isSpinning: boolean;
  /** How long answers are waited for after the last request. */
  readonly drainSeconds: number;
  readonly process: number;
  readonly processes: number;
}

export function newRunName(): string {
  return `load-${randomBytes(3).toString('hex')}`;
}

/** The parts that each of several processes does. */
export function share(settings: LoadSettings, processes: number): LoadSettings[] {
  const { areNamesShared, names, sockets, clients } = settings;
  return Array.from({ length: processes }, (_, process) => ({
    ...settings,
    process,
    processes,
    stretches: settings.stretches.map(({ seconds, from, to }) => ({
      seconds,
      from: from / processes,
      to: to / processes,
    })),
    sockets: Math.max(1, Math.round(sockets / processes)),
    clients: Math.max(1, Math.ceil(clients / processes)),
    names: areNamesShared ? names : Math.ceil(names / processes),
  }));
}

/**
 * Whether prepared frames can do it: the fast engine, in which a client owns a
 * frame's worth of names and does one plain op on all of them at once.
 */
export function isForFrames({ protocol, workload }: Pick<LoadSettings, 'protocol' | 'workload'>): boolean {
  const isPlain = (step: Step): boolean =>
    step.call === 'hold'
      ? step.ms[0] === step.ms[1]
      : ['acquire', 'renew', 'release', 'get'].includes(step.call) &&
        step.times === 1 &&
        step.mode === 'exclusive' &&
        step.waitMs === 0;
  const areAlternating = (steps: readonly Step[]): boolean =>
    steps.every((step, i) => step.call !== 'hold' || (i > 0 && steps[i - 1].call !== 'hold'));
  return (
    protocol === 'binary' &&
    workload.popularity === 'own' &&
    workload.expect.length === 0 &&
    workload.parts.every(
      ({ before, cycle, after }) => [...before, ...cycle, ...after].every(isPlain) && areAlternating(cycle),
    )
  );
}

/** Ops of one arrival, on average over the parts of the mix. */
export function opsOfArrival(workload: Workload): number {
  const weights = workload.parts.reduce((sum, part) => sum + part.weight, 0);
  // A part's weight is its share of the ops, so that of the arrivals is weight / ops.
  const arrivals = workload.parts.reduce((sum, part) => sum + part.weight / opsOf(part), 0);
  return weights / arrivals;
}

/** Which part each arrival is for: their shares are kept at any time, not only on average. */
export class Mix {
  readonly #shares: number[];
  readonly #owed: number[];

  constructor(workload: Workload) {
    const arrivals = workload.parts.map((part) => part.weight / opsOf(part));
    const all = arrivals.reduce((sum, n) => sum + n, 0);
    this.#shares = arrivals.map((n) => n / all);
    this.#owed = arrivals.map(() => 0);
  }

  next(): number {
    const owed = this.#owed;
    if (owed.length === 1) return 0;
    let most = 0;
    for (let i = 0; i < owed.length; i++) {
      owed[i] += this.#shares[i];
      if (owed[i] > owed[most]) most = i;
    }
    owed[most]--;
    return most;
  }
}
