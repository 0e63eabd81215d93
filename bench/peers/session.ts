/**
 * One peer, once: its servers with fresh data, then
 *
 *   (first time: the sweep) ─► saturation, closed loop ─► the common rate, open model ─► stopped, data removed
 */
import { mkdir, rm } from 'node:fs/promises';
import { runLoad, type Measured } from './child.ts';
import type { LoadOrder } from './load.ts';
import { NAMES, Unavailable, type Peer, type Standing } from './peer.ts';

export interface Times {
  /** Measured time of a saturation run, of each step of the sweep (0: none, the second step of each is taken), of the common rate. */
  readonly seconds: number;
  readonly sweepSeconds: number;
  readonly rateSeconds: number;
  /** Before each of them. */
  readonly warmupSeconds: number;
  /** Lock ops a second that all peers are compared at. */
  readonly rate: number;
}

export interface SweepStep {
  readonly concurrency: number;
  readonly opsPerSecond: number;
}

/** All that was found out about a peer, run by run. */
export interface PeerRuns {
  readonly peer: Peer;
  readonly sweep: SweepStep[];
  readonly saturated: Measured[];
  readonly paced: Measured[];
  /** Why there is nothing, or no more. */
  missing: string | undefined;
}

/** The smallest one whose rate is at least this part of the best. */
const NEARLY = 0.97;
/** Blocks that the client of the open model is prepared for at a time. */
const PACED_CONCURRENCY = 64;
/** Different names there: enough that none comes again within a minute at the usual rate. */
const PACED_NAMES = 16_384;

/** The number of blocks in flight to measure with: no more than the best rate needs. */
export function bestConcurrency(sweep: readonly SweepStep[]): number {
  if (sweep.length === 1) return sweep[0].concurrency;
  const best = Math.max(...sweep.map((step) => step.opsPerSecond));
  const enough = sweep.filter((step) => step.opsPerSecond >= best * NEARLY);
  return Math.min(...enough.map((step) => step.concurrency));
}

export class Session {
  readonly #times: Times;
  readonly #say: (line: string) => void;
  readonly #ending = new AbortController();
  #standing: Standing | undefined;
  #folder = '';

  constructor(times: Times, say: (line: string) => void) {
    this.#times = times;
    this.#say = say;
  }

  /** Adds a run to `runs`. What can't be had, or breaks, is noted there and not thrown. */
  async run(runs: PeerRuns, folder: string): Promise<void> {
    if (runs.missing !== undefined || this.isEnded) return;
    this.#folder = folder;
    try {
      await mkdir(folder, { recursive: true, mode: 0o755 });
      this.#standing = await runs.peer.start(folder);
      if (runs.sweep.length === 0) await this.#sweep(runs);
      await this.#measure(runs);
    } catch (error) {
      if (this.isEnded) return;
      const { message } = error as Error;
      runs.missing = error instanceof Unavailable ? message : `it failed: ${message}`;
      this.#say(`!! ${runs.peer.name}: ${runs.missing}`);
    } finally {
      await this.#clear();
    }
  }

  get isEnded(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Ends the run that is under way, load first; there is none after it. */
  async end(): Promise<void> {
    this.#ending.abort();
    await this.#clear();
  }

  /** Ends the servers and removes their data. */
  async #clear(): Promise<void> {
    const standing = this.#standing;
    this.#standing = undefined;
    await standing?.stop();
    if (this.#folder !== '') await rm(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }

  async #sweep({ peer, sweep }: PeerRuns): Promise<void> {
    if (this.#times.sweepSeconds === 0) {
      sweep.push({ concurrency: peer.concurrencies[1], opsPerSecond: NaN });
      return;
    }
    for (const concurrency of peer.concurrencies) {
      const { opsPerSecond } = await this.#load(peer, { concurrency, ms: this.#times.sweepSeconds * 1000 });
      this.#say(`  ${concurrency * peer.locksPerBlock} ops in flight: ${opsPerSecond.toFixed(0)} ops/s`);
      sweep.push({ concurrency, opsPerSecond });
    }
  }

  async #measure({ peer, sweep, saturated, paced }: PeerRuns): Promise<void> {
    const { seconds, rate, rateSeconds } = this.#times;
    const full = await this.#load(peer, { concurrency: bestConcurrency(sweep), ms: seconds * 1000 });
    saturated.push(full);
    const order = {
      concurrency: PACED_CONCURRENCY,
      locksPerBlock: 1,
      names: Math.min(PACED_NAMES, peer.names ?? NAMES),
      opsPerSecond: rate,
      ms: rateSeconds * 1000,
    };
    const calm = await this.#load(peer, order);
    paced.push(calm);
    this.#say(
      `  ${full.opsPerSecond.toFixed(0)} ops/s, P50 ${full.latency.p50Ms.toFixed(2)} P95 ${full.latency.p95Ms.toFixed(2)} ms; ` +
        `at ${rate} ops/s P50 ${calm.latency.p50Ms.toFixed(2)} P95 ${calm.latency.p95Ms.toFixed(2)} ms`,
    );
  }

  #load(peer: Peer, what: Partial<LoadOrder> & { concurrency: number; ms: number }): Promise<Measured> {
    const order: LoadOrder = {
      client: peer.client,
      target: this.#standing!.target,
      names: peer.names ?? NAMES,
      locksPerBlock: peer.locksPerBlock,
      warmupMs: this.#times.warmupSeconds * 1000,
      ...what,
    };
    return runLoad(order, this.#standing!.pids, this.#ending.signal);
  }
}
