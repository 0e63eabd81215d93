/**
 * Several processes (model-process.ts) over one truth of who owns which slot,
 * which each of them hears of late.
 */
import { NO_TERM } from '../../src/lane/messages.ts';
import type { Op } from '../../src/op.ts';
import { ModelClock } from './model-clock.ts';
import {
  type Asked,
  CLIENT,
  type ModelHost,
  type ModelLane,
  ModelLink,
  ModelProcess,
  SHARD,
  SLOTS,
} from './model-process.ts';

interface SlotTruth {
  owner: string | undefined;
  next: string | undefined;
}

export class World implements ModelHost {
  readonly clock = new ModelClock();
  readonly processes: ModelProcess[];
  readonly slots: SlotTruth[];
  readonly asked: Asked[] = [];
  /** Ids of requests, in the order in which they took effect. */
  readonly effects: number[] = [];
  nextId = 10;
  private terms = 0;
  private connections = CLIENT;

  constructor(processes: number) {
    this.slots = Array.from({ length: SLOTS }, () => ({ owner: undefined, next: undefined }));
    this.processes = Array.from({ length: processes }, (_, i) => new ModelProcess(this, i));
    this.tellTerms();
  }

  get lanes(): ModelLane[] {
    return this.processes.flatMap(({ lanes }) => lanes);
  }

  get allLinks(): ModelLink[] {
    return this.processes.flatMap(({ links }) => [...links.values()]);
  }

  newTerm(): string {
    return String(++this.terms).padStart(16, '0');
  }

  effect(op: Op): void {
    this.effects.push(op.fencingToken);
  }

  // ---- what may happen to slots

  laneOf(term: string | undefined): ModelLane | undefined {
    return this.lanes.find((lane) => lane.term === term);
  }

  claim(slot: number): void {
    const truth = this.slots[slot];
    const heir = this.laneOf(truth.next);
    if (truth.owner !== undefined || heir === undefined) return;
    truth.owner = heir.term;
    truth.next = undefined;
    heir.adopt(slot);
  }

  handOver(slot: number, to: ModelLane): void {
    const truth = this.slots[slot];
    const owner = this.laneOf(truth.owner);
    if (owner === undefined || owner === to) return;
    owner.lose([slot]);
    truth.owner = undefined;
    truth.next = to.term;
    this.tellOwner(slot, to.term);
  }

  /** Nobody living owns it: somebody takes it. */
  takeOver(slot: number, by: ModelLane): void {
    const truth = this.slots[slot];
    if (this.laneOf(truth.owner ?? truth.next) !== undefined) return;
    truth.owner = by.term;
    truth.next = undefined;
    this.tellOwner(slot, by.term);
    by.adopt(slot);
  }

  endTerm(lane: ModelLane): void {
    lane.lose([...lane.holds.keys()]);
    lane.term = this.newTerm();
    this.tellTerms();
  }

  private tellOwner(slot: number, term: string): void {
    for (const { watch } of this.processes) {
      watch.push({
        kind: 'owners',
        shard: SHARD,
        slots: Uint16Array.of(slot),
        owners: Uint16Array.of(term === '' ? NO_TERM : 0),
        terms: [term],
      });
    }
  }

  private tellTerms(): void {
    const terms = this.lanes.map(({ term, lane, process }) => {
      return { id: term, process: process.name, address: '', version: '', lane, state: 'serving' } as const;
    });
    for (const { watch } of this.processes) watch.push({ kind: 'terms', shard: SHARD, terms });
  }

  // ---- what may happen to links

  connect(from: ModelProcess, to: ModelProcess): void {
    if (from === to || from.links.has(to.number)) return;
    const link = new ModelLink(from, to, ++this.connections);
    from.links.set(to.number, link);
    to.inbound.set(link.connection, link);
    from.routing.linkUp(to.name);
  }

  disconnect(from: ModelProcess, to: ModelProcess): void {
    const link = from.links.get(to.number);
    from.links.delete(to.number);
    link?.breakDown();
  }
}
