/**
 * The two ways in which every peer is measured, alike for all of them.
 *
 *   closed loop   so many workers as chosen, each: acquire ─► release ─► its next block … without a pause.
 *                 Its rate is the highest that the peer has with so many requests open.
 *   open model    blocks arrive by the clock whether or not earlier ones were answered;
 *                 an acquire's latency counts from its intended time, a release's from the grant.
 */
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises';
import type { Histogram } from 'hdr-histogram-js';
import { latencyOf, newHistogram, type Latency } from '../../loadtest/latency.ts';
import type { LockClient, Shape } from './peer.ts';

/** One acquire or one release of one name is an op. */
export interface LoopResult {
  readonly opsPerSecond: number;
  /** Offered by the clock; in the closed loop the same as opsPerSecond. */
  readonly offeredPerSecond: number;
  readonly latency: Omit<Latency, 'histogram'>;
  /** By message; the ops of the whole run, warm-up included. */
  readonly failures: Readonly<Record<string, number>>;
  /** Blocks that arrived and were not answered in the time allowed. */
  readonly unanswered: number;
  /** The measured time, in ms since 1970. */
  readonly fromWallMs: number;
  readonly toWallMs: number;
}

export interface LoopTime {
  readonly warmupMs: number;
  readonly ms: number;
}

/** So many failures end a run: what is left would only be more of them. */
const FAILURES_MAX = 100;
const MESSAGE_CHARACTERS_MAX = 160;
const DRAIN_MS = 5_000;

class Measure {
  readonly from: number;
  readonly to: number;
  readonly failures: Record<string, number> = {};
  failed = 0;
  offered = 0;
  readonly #latency: Histogram = newHistogram();
  readonly #locks: number;
  #onTime = 0;

  constructor(time: LoopTime, locksPerBlock: number) {
    this.from = performance.now() + time.warmupMs;
    this.to = this.from + time.ms;
    this.#locks = locksPerBlock;
  }

  get goesOn(): boolean {
    return performance.now() < this.to && this.failed < FAILURES_MAX;
  }

  /** One block was answered now. `since`: its intended time. */
  answered(since: number): void {
    const now = performance.now();
    if (now >= this.from && now < this.to) this.#onTime += this.#locks;
    if (since < this.from || since >= this.to) return;
    this.#latency.recordValueWithCount(Math.max(0, Math.round((now - since) * 1000)), this.#locks);
  }

  fail(error: unknown): void {
    const message = (error instanceof Error ? error.message : String(error)).slice(0, MESSAGE_CHARACTERS_MAX);
    this.failures[message] = (this.failures[message] ?? 0) + 1;
    this.failed++;
  }

  result(offered: number | undefined, unanswered: number): LoopResult {
    const seconds = (this.to - this.from) / 1000;
    const { histogram: _, ...latency } = latencyOf(this.#latency);
    return {
      opsPerSecond: this.#onTime / seconds,
      offeredPerSecond: (offered ?? this.#onTime) / seconds,
      latency,
      failures: this.failures,
      unanswered,
      fromWallMs: performance.timeOrigin + this.from,
      toWallMs: performance.timeOrigin + this.to,
    };
  }
}

/** As many blocks in flight as the shape says, all the time. */
export async function closedLoop(client: LockClient, shape: Shape, time: LoopTime): Promise<LoopResult> {
  const measure = new Measure(time, shape.locksPerBlock);
  const workers = Array.from({ length: shape.concurrency }, (_, i) => worker(client, shape, measure, i));
  await Promise.all(workers);
  return measure.result(undefined, 0);
}

/** Its own blocks in turn: `first`, `first` + concurrency, … */
async function worker(client: LockClient, shape: Shape, measure: Measure, first: number): Promise<void> {
  const { blocks, concurrency } = shape;
  for (let block = first; measure.goesOn;) {
    const sentAt = performance.now();
    try {
      await client.acquire(block);
      measure.answered(sentAt);
      const releasedAt = performance.now();
      await client.release(block);
      measure.answered(releasedAt);
    } catch (error) {
      measure.fail(error);
      // A client that fails without I/O must not keep everybody else from running.
      await turn();
    }
    block += concurrency;
    if (block >= blocks) block = first;
  }
}

/**
 * @param opsPerSecond acquires and releases together
 * @param drainMs how long the last answers are waited for
 */
export async function openModel(
  client: LockClient,
  shape: Shape,
  time: LoopTime,
  opsPerSecond: number,
  drainMs = DRAIN_MS,
): Promise<LoopResult> {
  const measure = new Measure(time, shape.locksPerBlock);
  const everyMs = (2 * shape.locksPerBlock * 1000) / opsPerSecond;
  const startAt = measure.from - time.warmupMs;
  let offered = 0;
  const open = new Set<number>();
  const pair = async (block: number, dueAt: number): Promise<void> => {
    if (open.has(block)) return measure.fail(new Error('all names are still open'));
    open.add(block);
    try {
      await client.acquire(block);
      measure.answered(dueAt);
      const releasedAt = performance.now();
      await client.release(block);
      measure.answered(releasedAt);
    } catch (error) {
      measure.fail(error);
    }
    open.delete(block);
  };
  for (let arrived = 0; measure.failed < FAILURES_MAX;) {
    const dueAt = startAt + arrived * everyMs;
    if (dueAt >= measure.to) break;
    if (dueAt > performance.now()) {
      await pause(1);
      continue;
    }
    if (dueAt >= measure.from) offered += 2 * shape.locksPerBlock;
    void pair(arrived++ % shape.blocks, dueAt);
  }
  const until = performance.now() + drainMs;
  while (open.size > 0 && performance.now() < until) await pause(1);
  return measure.result(offered, open.size);
}
