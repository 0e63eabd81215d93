/**
 * Keeps a shard small: forgets the store's history, deletes the journals and
 * checkpoints that dead terms left behind and no slot record names, and watches
 * how full the store is.
 */
import type { Clock } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import { eachEntry, prefixEnd, type ShardStore } from '../shard/store.ts';
import {
  CHECKPOINT_PREFIX,
  checkpointPrefix,
  decodeSlotRecord,
  JOURNAL_PREFIX,
  journalPrefix,
  SLOT_PREFIX,
  termKey,
} from '../slots/records.ts';
import { livingTerms } from './takeover.ts';

export class Janitor {
  /** True while the store is more than half full: acquires are refused, so that releases still fit. */
  shedding = false;

  private readonly store: ShardStore;
  private readonly clock: Clock;
  private compactedAt = 0;
  private sweptAt = 0;
  private statusAt = 0;
  /** The revision at the last look: history before it is forgotten at the next. */
  private compactTo = 0;
  private compacted = 0;

  constructor(store: ShardStore, clock: Clock) {
    this.store = store;
    this.clock = clock;
  }

  /** The store refused a write for want of room: every acquire is refused until it says otherwise. */
  noSpace(): void {
    this.shedding = true;
  }

  /**
   * Does what is due. `alone`: what has to be done once for the shard is this
   * lane's; `settled`: its own slots no longer name dead terms.
   */
  async tidy(alone: boolean, settled: boolean): Promise<void> {
    const now = this.clock.now();
    if (now - this.statusAt > LIMITS.statusEveryMs) {
      this.statusAt = now;
      await this.look();
    }
    if (!alone) return;
    if (now - this.compactedAt > LIMITS.compactEveryMs) {
      this.compactedAt = now;
      await this.compact();
    }
    if (settled && now - this.sweptAt > LIMITS.sweepEveryMs) {
      this.sweptAt = now;
      await this.sweep();
    }
  }

  private async look(): Promise<void> {
    const status = await this.store.status();
    this.shedding = status.quotaBytes > 0 && status.bytesInUse > status.quotaBytes / 2;
  }

  private async compact(): Promise<void> {
    const { revision } = await this.store.status();
    if (this.compactTo > this.compacted) {
      await this.store.compact(this.compactTo);
      this.compacted = this.compactTo;
    }
    this.compactTo = revision;
  }

  /**
   * The order of the reads matters: what has a journal or checkpoint first, then
   * who lives, then what the records name. A term that was there before and
   * doesn't live is dead for ever, so no record can begin to name it any more.
   */
  private async sweep(): Promise<void> {
    const journals = await this.journalTerms();
    const cuts = await this.checkpointCuts();
    const living = await livingTerms(this.store);
    const deadTerms = journals.filter((term) => !living.has(term));
    const deadCuts = [...cuts].filter((cut) => !living.has(termOfCut(cut)));
    if (deadTerms.length === 0 && deadCuts.length === 0) return;
    const named = await this.readNamed();
    for (const term of deadTerms) if (!named.terms.has(term)) await this.deleteOf(term, journalPrefix(term));
    for (const cut of deadCuts) if (!named.checkpoints.has(cut)) await this.deleteOf(termOfCut(cut), cut);
  }

  private async deleteOf(term: string, prefix: string): Promise<void> {
    await this.store.txn({
      compares: [{ key: termKey(term), modRevision: 0 }],
      changes: [{ delete: prefix, upTo: prefixEnd(prefix) }],
    });
  }

  /**
   * What the slot records name. They need not be of one revision: a record can
   * stop naming a dead term while this reads, but none begins to.
   */
  private async readNamed(): Promise<{ terms: Set<string>; checkpoints: Set<string> }> {
    const terms = new Set<string>();
    const checkpoints = new Set<string>();
    await eachEntry(this.store, SLOT_PREFIX, {}, ({ key, value }) => {
      const { segments, checkpoint } = decodeSlotRecord(value);
      for (const { term } of segments) terms.add(term);
      if (checkpoint !== null)
        checkpoints.add(checkpointPrefix(Number(key.slice(SLOT_PREFIX.length)), checkpoint));
    });
    return { terms, checkpoints };
  }

  /** The terms that have a journal, by skipping from one to the next. */
  private async journalTerms(): Promise<string[]> {
    const terms: string[] = [];
    let from = JOURNAL_PREFIX;
    for (;;) {
      const page = await this.store.range(from, prefixEnd(JOURNAL_PREFIX), { limit: 1, keysOnly: true });
      if (page.entries.length === 0) return terms;
      const { key } = page.entries[0];
      const term = key.slice(JOURNAL_PREFIX.length, key.lastIndexOf('/'));
      terms.push(term);
      from = prefixEnd(journalPrefix(term));
    }
  }

  /** The prefixes of all checkpoints that are there, whole or in part. */
  private async checkpointCuts(): Promise<Set<string>> {
    const cuts = new Set<string>();
    await eachEntry(this.store, CHECKPOINT_PREFIX, { keysOnly: true }, ({ key }) => {
      cuts.add(key.slice(0, key.lastIndexOf('/') + 1));
    });
    return cuts;
  }
}

/** The term that made the checkpoint with this prefix. */
function termOfCut(cut: string): string {
  return cut.slice(cut.indexOf('/', CHECKPOINT_PREFIX.length) + 1, cut.lastIndexOf('-'));
}
