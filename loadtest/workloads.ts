/**
 * What a load run asks for. A client owns a block of names (one frame's worth)
 * and walks its workload's cycle over them, again and again:
 *
 *   arrival (open model) ─► step 1 ─ answered, hold ─► step 2 … ─► idle until its next arrival
 *
 * Arrivals come by the clock and never wait for answers; a later step of the
 * cycle is due `holdMs` after the answers of the one before.
 */

export type Step = 'acquire' | 'renew' | 'release' | 'get';

export interface Workload {
  readonly about: string;
  /** Steps done for every block before the clock starts. */
  readonly before: readonly Step[];
  readonly cycle: readonly Step[];
  readonly after: readonly Step[];
  /** For claims that must outlive the run. */
  readonly ttlMs: number;
}

export const WORKLOADS = {
  'acquire-release': {
    about: 'take 64 locks, hold them, release them; each op is one lock op',
    before: [],
    cycle: ['acquire', 'release'],
    after: [],
    ttlMs: 30_000,
  },
  renew: {
    about: 'renew locks that are held',
    before: ['acquire'],
    cycle: ['renew'],
    after: ['release'],
    ttlMs: 3_600_000,
  },
  hold: {
    about: 'take locks, read them, and leave them held',
    before: ['acquire'],
    cycle: ['get'],
    after: [],
    ttlMs: 86_400_000,
  },
  get: {
    about: 'strong reads of held locks',
    before: ['acquire'],
    cycle: ['get'],
    after: ['release'],
    ttlMs: 3_600_000,
  },
} as const satisfies Record<string, Workload>;

export type WorkloadName = keyof typeof WORKLOADS;

export interface LoadSettings {
  readonly url: string;
  readonly workload: WorkloadName;
  /** Ops a second of this process. */
  readonly rate: number;
  readonly seconds: number;
  /** Runs before the measured time, at the same rate. */
  readonly warmupSeconds: number;
  readonly sockets: number;
  readonly opsPerFrame: number;
  readonly names: number;
  /** A file with names to use, one a line, all of one length; undefined: the driver makes some up. */
  readonly namesFile: string | undefined;
  readonly holdMs: number;
  /** TTL of the claims; undefined: the workload's. */
  readonly ttlMs: number | undefined;
  /** How long answers are waited for after the last request. */
  readonly drainSeconds: number;
  readonly process: number;
}
