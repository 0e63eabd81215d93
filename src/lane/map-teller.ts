/**
 * Tells the front of this process who owns which slots of a shard: what changed,
 * whenever it changed. One lane of a process does it for all.
 */
import type { SlotRecord, TermRecord } from '../slots/records.ts';
import { type LaneMessage, NO_TERM, type TermInfo } from './messages.ts';
import type { SlotView } from './view.ts';

export class MapTeller {
  private readonly shard: string;
  private readonly emit: (message: LaneMessage) => void;
  private told = '';

  constructor(shard: string, emit: (message: LaneMessage) => void) {
    this.shard = shard;
    this.emit = emit;
  }

  terms(living: ReadonlyMap<string, TermRecord>): void {
    const terms: TermInfo[] = [];
    for (const [id, { process, address, version, lane, state }] of living)
      terms.push({ id, process, address, version, lane, state });
    const told = JSON.stringify(terms);
    if (told === this.told) return;
    this.told = told;
    this.emit({ kind: 'terms', shard: this.shard, terms });
  }

  owners(slots: readonly number[], view: SlotView): void {
    const terms: string[] = [];
    const places = new Map<string, number>();
    const owners = Uint16Array.from(slots, (slot) => {
      const term = ownerOrHeir(view.records.get(slot)!.record);
      if (term === null) return NO_TERM;
      const place = places.get(term) ?? terms.push(term) - 1;
      places.set(term, place);
      return place;
    });
    this.emit({ kind: 'owners', shard: this.shard, slots: Uint16Array.from(slots), owners, terms });
  }
}

function ownerOrHeir(record: SlotRecord): string | null {
  return record.owner ?? record.next;
}
