/**
 * The ceiling (DESIGN §11): a bare generator that commits journal entries of
 * the bytes Holdfast writes to the same etcd at the same offered rate. No
 * sockets, no locks, no decisions. One commit in flight a shard; what arrives
 * meanwhile forms the next entry. Whatever Holdfast needs beyond this is its own.
 *
 *   node ceiling.js '{"shards": [["http://127.0.0.1:2379"]], "rate": 66667, …}'
 *
 * prints its result as one line of JSON.
 */
import { randomBytes } from 'node:crypto';
import type { Histogram } from 'hdr-histogram-js';
import { latencyOf, newHistogram, type Latency } from '../loadtest/result.ts';
import { LIMITS } from '../src/limits.ts';
import { openEtcdStore } from '../src/shard/etcd/store.ts';
import { COMMIT_HEADROOM, prefixEnd, type Change, type ShardStore } from '../src/shard/store.ts';
import { entryTemplate } from './entry.ts';

export interface CeilingSettings {
  /** Endpoints by shard. */
  readonly shards: readonly (readonly string[])[];
  /** Ops a second over all shards, half of them acquires, half releases. */
  readonly rate: number;
  readonly opsPerFrame: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

export interface CeilingResult {
  readonly offered: number;
  readonly achieved: number;
  readonly latency: Latency;
  readonly sendLag: Latency;
  readonly commitsPerSecond: number;
  readonly bytesPerEntry: number;
  readonly cpuSeconds: number;
  /** The measured time, in ms since 1970. */
  readonly fromWallMs: number;
  readonly toWallMs: number;
}

const PREFIX = 'ceiling/';
const LEASE_MARGIN_MS = 60_000;

/** What all shards of a run measure together. */
class Measure {
  readonly latency: Histogram = newHistogram();
  readonly lag: Histogram = newHistogram();
  readonly from: number;
  readonly to: number;
  offered = 0;
  onTime = 0;
  commits = 0;
  bytes = 0;

  constructor(from: number, to: number) {
    this.from = from;
    this.to = to;
  }

  committed(intendedAt: number, now: number, ops: number): void {
    if (now >= this.from && now < this.to) this.onTime += ops;
    if (intendedAt < this.from || intendedAt >= this.to) return;
    this.latency.recordValueWithCount(Math.round((now - intendedAt) * 1000), Math.max(1, Math.round(ops)));
  }
}

/** One shard's chain of commits. */
class Chain {
  readonly #store: ShardStore;
  readonly #id = randomBytes(8).toString('hex');
  readonly #key = `${PREFIX}term/${this.#id}`;
  readonly #journal = `${PREFIX}journal/${this.#id}/`;
  readonly #value = Buffer.from(
    JSON.stringify({ process: 'ceiling', address: '', version: '', lane: 0, seq: 0 }),
  );
  readonly #bytesPerOp: number;
  readonly #entry: Uint8Array;
  readonly #measure: Measure;
  #lease = '';
  #revision = 0;
  #seq = 0;
  #keptFrom = 1;
  #keptBytes = 0;
  /** Arrivals in order: intended time and ops of each, and those of the commit under way. */
  #waitingAt: number[] = [];
  #waitingOps: number[] = [];
  #isBusy = false;
  failure: unknown;

  constructor(store: ShardStore, measure: Measure) {
    this.#store = store;
    this.#measure = measure;
    const template = entryTemplate();
    this.#bytesPerOp = template.bytesPerOp;
    this.#entry = new Uint8Array(COMMIT_HEADROOM + LIMITS.entryBytesMax);
    for (let at = COMMIT_HEADROOM; at < this.#entry.length; at += template.bytes.length) {
      this.#entry.set(template.bytes.subarray(0, this.#entry.length - at), at);
    }
  }

  async begin(leaseMs: number): Promise<void> {
    this.#lease = await this.#store.grantLease(leaseMs);
    const put: Change = { put: this.#key, value: this.#value, lease: this.#lease };
    const result = await this.#store.txn({ compares: [{ key: this.#key, modRevision: 0 }], changes: [put] });
    this.#revision = result.revision;
  }

  arrived(intendedAt: number, ops: number): void {
    this.#waitingAt.push(intendedAt);
    this.#waitingOps.push(ops);
    if (!this.#isBusy) void this.#drive();
  }

  get idle(): boolean {
    return !this.#isBusy;
  }

  /** Forgets history, as Holdfast does all the time. */
  async compact(): Promise<void> {
    await this.#store.compact(this.#revision);
  }

  async end(): Promise<void> {
    await this.#store.txn({ compares: [], changes: [{ delete: PREFIX, upTo: prefixEnd(PREFIX) }] });
    await this.#store.revokeLease(this.#lease);
    await this.#store.close();
  }

  async #drive(): Promise<void> {
    this.#isBusy = true;
    try {
      while (this.#waitingAt.length > 0) await this.#commit();
    } catch (error) {
      this.failure = error;
    }
    this.#isBusy = false;
  }

  async #commit(): Promise<void> {
    const { at, ops, total } = this.#take();
    const bytes = Math.ceil(total * this.#bytesPerOp);
    this.#seq++;
    const result = await this.#store.commit({
      termKey: this.#key,
      expectedRevision: this.#revision,
      termValue: this.#value,
      journalKey: this.#journal + String(this.#seq).padStart(12, '0'),
      buffer: this.#entry,
      entryAt: COMMIT_HEADROOM,
      entryEnd: COMMIT_HEADROOM + bytes,
      changes: this.#truncation(bytes),
    });
    if (!result.succeeded) throw new Error('the term of the ceiling was ended by somebody else');
    this.#revision = result.revision;
    const now = performance.now();
    for (let i = 0; i < at.length; i++) this.#measure.committed(at[i], now, ops[i]);
    if (now < this.#measure.from) return;
    this.#measure.commits++;
    this.#measure.bytes += bytes;
  }

  #take(): { at: number[]; ops: number[]; total: number } {
    const opsMax = LIMITS.entryBytesMax / this.#bytesPerOp;
    let count = 0;
    let total = 0;
    while (count < this.#waitingAt.length && total + this.#waitingOps[count] <= opsMax)
      total += this.#waitingOps[count++];
    return { at: this.#waitingAt.splice(0, count), ops: this.#waitingOps.splice(0, count), total };
  }

  /** Deletes what was written, once it is as much as Holdfast keeps. */
  #truncation(bytes: number): Change[] {
    this.#keptBytes += bytes;
    if (this.#keptBytes < LIMITS.journalBytesMax) return [];
    const key = (seq: number): string => this.#journal + String(seq).padStart(12, '0');
    const change: Change = { delete: key(this.#keptFrom), upTo: key(this.#seq) };
    this.#keptFrom = this.#seq;
    this.#keptBytes = 0;
    return [change];
  }
}

async function runCeiling(settings: CeilingSettings): Promise<CeilingResult> {
  const { shards, rate, opsPerFrame, warmupSeconds, seconds } = settings;
  const stores = shards.map((endpoints, i) =>
    openEtcdStore({ name: `s${i}`, engine: 'etcd', endpoints, weight: 1 }),
  );
  const startAt = performance.now() + 200;
  const measure = new Measure(startAt + warmupSeconds * 1000, startAt + (warmupSeconds + seconds) * 1000);
  const chains = stores.map((store) => new Chain(store, measure));
  for (const chain of chains) await chain.begin((warmupSeconds + seconds) * 1000 + LEASE_MARGIN_MS);
  const compaction = setInterval(() => {
    for (const chain of chains) chain.compact().catch((error: unknown) => (chain.failure = error));
  }, LIMITS.compactEveryMs);
  const cpuSeconds = await offer(chains, measure, startAt, (opsPerFrame * 1000) / rate, opsPerFrame);
  clearInterval(compaction);
  for (const chain of chains) {
    while (!chain.idle) await new Promise((resolve) => setTimeout(resolve, 10));
    if (chain.failure !== undefined) throw chain.failure;
    await chain.end();
  }
  return {
    offered: measure.offered / seconds,
    achieved: measure.onTime / seconds,
    latency: latencyOf(measure.latency),
    sendLag: latencyOf(measure.lag),
    commitsPerSecond: measure.commits / seconds,
    bytesPerEntry: measure.bytes / Math.max(1, measure.commits),
    cpuSeconds,
    fromWallMs: performance.timeOrigin + measure.from,
    toWallMs: performance.timeOrigin + measure.to,
  };
}

/** Frames by the clock, each spread over the shards as names are. Returns the CPU seconds of the measured time. */
function offer(
  chains: Chain[],
  measure: Measure,
  startAt: number,
  everyMs: number,
  ops: number,
): Promise<number> {
  let nextAt = startAt;
  let cpu: NodeJS.CpuUsage | undefined;
  return new Promise((resolve) => {
    const tick = (): void => {
      const now = performance.now();
      for (; nextAt <= now && nextAt < measure.to; nextAt += everyMs) {
        if (nextAt >= measure.from) {
          cpu ??= process.cpuUsage();
          measure.offered += ops;
          measure.lag.recordValue(Math.round((now - nextAt) * 1000));
        }
        for (const chain of chains) chain.arrived(nextAt, ops / chains.length);
      }
      if (now < measure.to) {
        setTimeout(tick, 1);
      } else {
        const used = process.cpuUsage(cpu);
        resolve((used.user + used.system) / 1e6);
      }
    };
    tick();
  });
}

if (process.argv[2] !== undefined) {
  const result = await runCeiling(JSON.parse(process.argv[2]) as CeilingSettings);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
