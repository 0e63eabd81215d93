/**
 * What a lane knows of a shard's slot records: all of them, read now and then,
 * and watched in between. A hint: every claim is a Txn on the revision seen here.
 *
 *   stale ─ read ─► fresh ─ the watch broke, a claim failed, or long ago ─► stale
 *
 * Once all of them are known, it is enough to read what was written since then.
 */
import type { Clock } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import { eachChangedAfter, prefixEnd, type ShardStore, type Watch, type WatchEvent } from '../shard/store.ts';
import { decodeSlotRecord, SLOT_PREFIX, type SlotRecord } from '../slots/records.ts';

export interface SeenRecord {
  readonly record: SlotRecord;
  readonly modRevision: number;
}

export class SlotView {
  readonly records = new Map<number, SeenRecord>();
  private readonly store: ShardStore;
  private readonly clock: Clock;
  private readonly onChange: (slots: readonly number[]) => void;
  private watch: Watch | undefined;
  /** The records are known as they were at this revision, or newer. */
  private known = 0;
  private readAt = -Infinity;
  private closed = false;

  /** @param onChange these records have another owner or heir than before */
  constructor(store: ShardStore, clock: Clock, onChange: (slots: readonly number[]) => void) {
    this.store = store;
    this.clock = clock;
    this.onChange = onChange;
  }

  get stale(): boolean {
    return this.watch === undefined || this.clock.now() - this.readAt > LIMITS.recordPollMs;
  }

  /** What is known may be wrong: to be read again. */
  distrust(): void {
    this.readAt = -Infinity;
  }

  /** Reads what was written since the last time, in pages: not one snapshot. @throws ShardError */
  async read(): Promise<void> {
    const readAt = this.clock.now();
    const changed: number[] = [];
    // What is written while later pages are read comes with the watch, and with the next read.
    this.known = await eachChangedAfter(this.store, SLOT_PREFIX, this.known, (entry) => {
      this.take(entry.key, entry.value, entry.modRevision, changed);
    });
    this.readAt = readAt;
    if (!this.closed) this.watch ??= this.open(this.known);
    this.tell(changed);
  }

  /** The records as this lane wrote them at `modRevision`. */
  wrote(records: Iterable<readonly [number, SlotRecord]>, modRevision: number): void {
    const changed: number[] = [];
    for (const [slot, record] of records) this.set(slot, record, modRevision, changed);
    this.tell(changed);
  }

  close(): void {
    this.closed = true;
    this.watch?.close();
    this.watch = undefined;
  }

  private open(revision: number): Watch {
    const watch: Watch = this.store.watch(
      SLOT_PREFIX,
      prefixEnd(SLOT_PREFIX),
      revision,
      (events) => this.heard(events),
      () => {
        if (this.watch === watch) this.watch = undefined;
      },
    );
    return watch;
  }

  private heard(events: readonly WatchEvent[]): void {
    const changed: number[] = [];
    for (const { key, value, modRevision } of events) {
      if (value !== undefined) this.take(key, value, modRevision, changed);
    }
    this.tell(changed);
  }

  private take(key: string, value: Uint8Array, modRevision: number, changed: number[]): void {
    const slot = Number(key.slice(SLOT_PREFIX.length));
    const before = this.records.get(slot);
    if (before === undefined || before.modRevision < modRevision)
      this.set(slot, decodeSlotRecord(value), modRevision, changed);
  }

  private set(slot: number, record: SlotRecord, modRevision: number, changed: number[]): void {
    const before = this.records.get(slot);
    if (before !== undefined && before.modRevision >= modRevision) return;
    this.records.set(slot, { record, modRevision });
    if (before?.record.owner !== record.owner || before.record.next !== record.next) changed.push(slot);
  }

  private tell(changed: readonly number[]): void {
    if (changed.length > 0) this.onChange(changed);
  }
}
