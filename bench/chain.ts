/**
 * Bare commits to one etcd shard, for ceilings: journal entries of the bytes
 * that Holdfast writes, one in flight; what arrives meanwhile forms the next.
 *
 *   idle ─ arrived ─► committing ─ more has arrived ─► committing … ─► idle
 *                         └─ an error ─► failed
 */
import { randomBytes } from 'node:crypto';
import { LIMITS } from '../src/limits.ts';
import { COMMIT_HEADROOM, prefixEnd, type Change, type ShardStore } from '../src/shard/store.ts';
import { entryTemplate } from './entry.ts';

const PREFIX = 'ceiling/';

export interface Arrivals {
  /** Ops that arrived as `tag` are on disk. */
  committed(tag: number, now: number, ops: number): void;
  /** One commit of so many bytes returned. */
  wrote(now: number, bytes: number): void;
  failed(error: unknown): void;
}

/** One shard's chain of commits. */
export class Chain {
  readonly #store: ShardStore;
  readonly #id = randomBytes(8).toString('hex');
  readonly #key = `${PREFIX}term/${this.#id}`;
  readonly #journal = `${PREFIX}journal/${this.#id}/`;
  readonly #value = Buffer.from(
    JSON.stringify({ process: 'ceiling', address: '', version: '', lane: 0, seq: 0 }),
  );
  readonly #bytesPerOp: number;
  readonly #entry: Uint8Array;
  readonly #arrivals: Arrivals;
  #lease = '';
  #revision = 0;
  #seq = 0;
  #keptFrom = 1;
  #keptBytes = 0;
  /** Arrivals in order: tag and ops of each. */
  #waiting: number[] = [];
  #waitingOps: number[] = [];
  #isBusy = false;

  constructor(store: ShardStore, arrivals: Arrivals) {
    this.#store = store;
    this.#arrivals = arrivals;
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

  /** @param tag told back when they are committed, such as the time they were meant for */
  arrived(tag: number, ops: number): void {
    this.#waiting.push(tag);
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
      while (this.#waiting.length > 0) await this.#commit();
    } catch (error) {
      this.#arrivals.failed(error);
    }
    this.#isBusy = false;
  }

  async #commit(): Promise<void> {
    const { tags, ops, total } = this.#take();
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
    for (let i = 0; i < tags.length; i++) this.#arrivals.committed(tags[i], now, ops[i]);
    this.#arrivals.wrote(now, bytes);
  }

  #take(): { tags: number[]; ops: number[]; total: number } {
    const opsMax = LIMITS.entryBytesMax / this.#bytesPerOp;
    let count = 0;
    let total = 0;
    while (count < this.#waiting.length && total + this.#waitingOps[count] <= opsMax)
      total += this.#waitingOps[count++];
    return { tags: this.#waiting.splice(0, count), ops: this.#waitingOps.splice(0, count), total };
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
