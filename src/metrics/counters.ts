/**
 * What one lane counts: numbers in shared memory that the lane alone writes and
 * the main thread reads when Prometheus scrapes. No locks, no messages and no
 * allocation on the path of an op: a count is one addition to a typed array.
 *
 * A reader may see one histogram a few observations ahead of another; each
 * number by itself is whole (aligned 64-bit stores do not tear on the machines
 * Node runs on) and exact up to 2^53.
 *
 *   counters  := ops[kind][code] durations[kind] wait hold shard*
 *   shard     := commit durations, commit ops, gauges[4]
 *   histogram := one count per bound, the count above the last bound, the sum
 */

/** Kinds of op.ts, with room to grow. */
const KINDS = 32;
/** Wire codes of errors.ts, 0 = no error, with room to grow. */
const CODES = 64;
const GAUGES = 4;

/** Upper bounds of the op and commit duration buckets, in milliseconds. */
export const DURATION_BOUNDS_MS: readonly number[] = [
  0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000,
];
/** Upper bounds of how long claims waited and were held, in milliseconds: up to the longest TTL. */
export const SPAN_BOUNDS_MS: readonly number[] = [
  5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
  21_600_000, 86_400_000,
];
/** Upper bounds of the ops that one commit made durable. */
export const COMMIT_OPS_BOUNDS: readonly number[] = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000,
];

/** Slots of a histogram: the buckets, the one above them, the sum. */
export function histogramSize(bounds: readonly number[]): number {
  return bounds.length + 2;
}

const DURATION_SIZE = histogramSize(DURATION_BOUNDS_MS);
const SPAN_SIZE = histogramSize(SPAN_BOUNDS_MS);

const DURATIONS_AT = KINDS * CODES;
const WAIT_AT = DURATIONS_AT + KINDS * DURATION_SIZE;
const HOLD_AT = WAIT_AT + SPAN_SIZE;
const SHARDS_AT = HOLD_AT + SPAN_SIZE;

const COMMIT_OPS_AT = DURATION_SIZE;
const UP_AT = COMMIT_OPS_AT + histogramSize(COMMIT_OPS_BOUNDS);
const OWNED_AT = UP_AT + 1;
const HELD_AT = UP_AT + 2;
const WAITERS_AT = UP_AT + 3;
const SHARD_SIZE = UP_AT + GAUGES;

/** Counters of one writer: a lane, or the front (which has no shards). Shards are numbered in the order of their names. */
export class LaneCounters {
  readonly shardNames: readonly string[];
  private readonly cells: Float64Array;

  /** `buffer` holds at least LaneCounters.bytes(shardNames.length), zeroed. */
  constructor(buffer: SharedArrayBuffer, shardNames: readonly string[]) {
    const bytes = LaneCounters.bytes(shardNames.length);
    if (buffer.byteLength < bytes) {
      throw new RangeError(
        `counters for ${shardNames.length} shards need ${bytes} bytes, got ${buffer.byteLength}`,
      );
    }
    this.shardNames = shardNames;
    this.cells = new Float64Array(buffer);
  }

  /** Bytes of shared memory that the counters of `shards` shards take. */
  static bytes(shards: number): number {
    return 8 * (SHARDS_AT + shards * SHARD_SIZE);
  }

  // ---- written by the lane

  /** `n` answers to ops of `kind` left with `wireCode` of errors.ts; 0 = no error. */
  countOp(kind: number, wireCode: number, n = 1): void {
    this.cells[kind * CODES + wireCode] += n;
  }

  /** One op of `kind` took `ms` from being read to its answer being written. */
  recordDuration(kind: number, ms: number): void {
    this.record(DURATIONS_AT + kind * DURATION_SIZE, DURATION_BOUNDS_MS, ms);
  }

  /** A claim was granted after it waited `ms`; tries are not recorded. */
  recordWait(ms: number): void {
    this.record(WAIT_AT, SPAN_BOUNDS_MS, ms);
  }

  /** A claim ended that had been held for `ms`. */
  recordHold(ms: number): void {
    this.record(HOLD_AT, SPAN_BOUNDS_MS, ms);
  }

  /** One commit to `shard` took `ms` and made `ops` ops durable. */
  recordCommit(shard: number, ms: number, ops: number): void {
    const at = this.shardAt(shard);
    this.record(at, DURATION_BOUNDS_MS, ms);
    this.record(at + COMMIT_OPS_AT, COMMIT_OPS_BOUNDS, ops);
  }

  setUp(shard: number, up: boolean): void {
    this.cells[this.shardAt(shard) + UP_AT] = up ? 1 : 0;
  }

  setSlotsOwned(shard: number, slots: number): void {
    this.cells[this.shardAt(shard) + OWNED_AT] = slots;
  }

  /** Claims held in the slots that this lane owns on `shard`. */
  setHeld(shard: number, claims: number): void {
    this.cells[this.shardAt(shard) + HELD_AT] = claims;
  }

  setWaiters(shard: number, waiters: number): void {
    this.cells[this.shardAt(shard) + WAITERS_AT] = waiters;
  }

  // ---- read at a scrape

  ops(kind: number, wireCode: number): number {
    return this.cells[kind * CODES + wireCode];
  }

  up(shard: number): boolean {
    return this.cells[this.shardAt(shard) + UP_AT] === 1;
  }

  slotsOwned(shard: number): number {
    return this.cells[this.shardAt(shard) + OWNED_AT];
  }

  held(shard: number): number {
    return this.cells[this.shardAt(shard) + HELD_AT];
  }

  waiters(shard: number): number {
    return this.cells[this.shardAt(shard) + WAITERS_AT];
  }

  /** Adds a histogram (counts per bucket, count above, sum) to `sum`, which has histogramSize of its bounds. */
  addDurations(kind: number, sum: Float64Array): void {
    this.add(DURATIONS_AT + kind * DURATION_SIZE, sum);
  }

  addWaits(sum: Float64Array): void {
    this.add(WAIT_AT, sum);
  }

  addHolds(sum: Float64Array): void {
    this.add(HOLD_AT, sum);
  }

  addCommitDurations(shard: number, sum: Float64Array): void {
    this.add(this.shardAt(shard), sum);
  }

  addCommitOps(shard: number, sum: Float64Array): void {
    this.add(this.shardAt(shard) + COMMIT_OPS_AT, sum);
  }

  private shardAt(shard: number): number {
    return SHARDS_AT + shard * SHARD_SIZE;
  }

  /** A loop from below: most values fall into the first few buckets. */
  private record(at: number, bounds: readonly number[], value: number): void {
    let bucket = 0;
    while (bucket < bounds.length && value > bounds[bucket]) bucket++;
    this.cells[at + bucket] += 1;
    this.cells[at + bounds.length + 1] += value;
  }

  private add(at: number, sum: Float64Array): void {
    for (let i = 0; i < sum.length; i++) sum[i] += this.cells[at + i];
  }
}
