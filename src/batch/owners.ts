/**
 * Which term owns each slot, over all processes, as the shards' records said
 * last. It may be behind: who is asked wrongly says so.
 */
import { type LaneOwners, type LaneTerms, NO_TERM, type TermInfo } from '../lane/messages.ts';

export interface Term {
  readonly id: string;
  /** Index of its shard. */
  readonly shard: number;
  /** undefined: it is over, or not heard of yet. */
  info: TermInfo | undefined;
  /** Slots that are its. */
  slots: number;
}

export class Owners {
  private readonly process: string;
  private readonly shards: readonly string[];
  private readonly bySlot: (Term | undefined)[];
  private readonly byId = new Map<string, Term>();

  /** @param process this process's id */
  constructor(slots: number, shards: readonly string[], process: string) {
    this.process = process;
    this.shards = shards;
    this.bySlot = new Array<Term | undefined>(slots).fill(undefined);
  }

  /** All living terms of a shard; `over` is called with each that was one before. */
  terms(message: LaneTerms, over: (term: TermInfo) => void): void {
    const shard = this.shards.indexOf(message.shard);
    if (shard < 0) return;
    const living = new Set(message.terms.map(({ id }) => id));
    for (const term of this.byId.values()) {
      const { info } = term;
      if (term.shard !== shard || info === undefined || living.has(term.id)) continue;
      term.info = undefined;
      over(info);
      this.tidy(term);
    }
    for (const info of message.terms) this.intern(info.id, shard).info = info;
  }

  /** New owners of slots; `changed` is called for each slot whose owner is another one now. */
  owners(message: LaneOwners, changed: (slot: number, before: Term | undefined) => void): void {
    const shard = this.shards.indexOf(message.shard);
    if (shard < 0) return;
    const { slots, owners, terms } = message;
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i];
      const before = this.bySlot[slot];
      const owner = owners[i];
      // That nobody owns it counts only in the shard where somebody did.
      if (owner === NO_TERM && before?.shard !== shard) continue;
      const after = owner === NO_TERM ? undefined : this.intern(terms[owner], shard);
      if (after === before) continue;
      this.bySlot[slot] = after;
      if (after !== undefined) after.slots++;
      if (before !== undefined) {
        before.slots--;
        this.tidy(before);
      }
      changed(slot, before);
    }
  }

  at(slot: number): Term | undefined {
    return this.bySlot[slot];
  }

  /** The slot's owner, if it is a living term of another process. */
  remote(slot: number): TermInfo | undefined {
    const info = this.bySlot[slot]?.info;
    return info === undefined || info.process === this.process ? undefined : info;
  }

  /** A living term of this process. */
  own(id: string): Term | undefined {
    const term = this.byId.get(id);
    return term?.info?.process === this.process ? term : undefined;
  }

  isOwn(term: Term): boolean {
    return term.info?.process === this.process;
  }

  /** What is known of the term, if it lives. */
  alive(id: string): TermInfo | undefined {
    return this.byId.get(id)?.info;
  }

  /** The slots that are the term's, also of one that is over. */
  slotsOf(id: string): Set<number> {
    const slots = new Set<number>();
    if ((this.byId.get(id)?.slots ?? 0) === 0) return slots;
    for (const [slot, term] of this.bySlot.entries()) if (term?.id === id) slots.add(slot);
    return slots;
  }

  /** All living terms. */
  *living(): IterableIterator<Term & { readonly info: TermInfo }> {
    for (const term of this.byId.values()) {
      if (term.info !== undefined) yield term as Term & { readonly info: TermInfo };
    }
  }

  private intern(id: string, shard: number): Term {
    let term = this.byId.get(id);
    if (term === undefined) {
      term = { id, shard, info: undefined, slots: 0 };
      this.byId.set(id, term);
    }
    return term;
  }

  private tidy(term: Term): void {
    if (term.info === undefined && term.slots === 0) this.byId.delete(term.id);
  }
}
