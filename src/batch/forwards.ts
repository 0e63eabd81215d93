/**
 * Forwards under way, by slot. While there are any, the slot's ops go to the
 * same term only, and to nobody once one of them came back: what is still under
 * way is older than what waits here, and will come back as well.
 *
 *   none ─ begin ─► under way ─ done, the last ─► none
 *                       └─ returned ─► returning ─ done, the last ─► none, for a
 *                                                  while to be tried again later
 */
import { LIMITS } from '../limits.ts';

export class Forwards {
  private readonly count: Uint32Array;
  private readonly returning: Uint8Array;
  private readonly term: (string | undefined)[];
  /** Slots that wait before their owner is asked again, until then; and how often in a row it refused them. */
  private readonly waiting = new Map<number, number>();
  private readonly waits = new Map<number, number>();

  constructor(slots: number) {
    this.count = new Uint32Array(slots);
    this.returning = new Uint8Array(slots);
    this.term = new Array<string | undefined>(slots).fill(undefined);
  }

  underWay(slot: number): boolean {
    return this.count[slot] > 0;
  }

  /** An op of the slot may go to `term` now. */
  mayGoTo(slot: number, term: string): boolean {
    if (this.count[slot] === 0) return !this.waiting.has(slot);
    return this.returning[slot] === 0 && this.term[slot] === term;
  }

  begin(slot: number, term: string): void {
    this.term[slot] = term;
    this.count[slot]++;
  }

  /** One of them was answered or given up. True when it was the last. */
  done(slot: number): boolean {
    if (this.count[slot] === 0) return false;
    if (this.waits.size > 0 && this.returning[slot] === 0) this.waits.delete(slot);
    if (--this.count[slot] > 0) return false;
    this.returning[slot] = 0;
    this.term[slot] = undefined;
    return true;
  }

  /** One of them is back; `done` comes yet. Returns the term that refused it. */
  returned(slot: number): string | undefined {
    if (this.returning[slot] === 0) this.waits.set(slot, (this.waits.get(slot) ?? 0) + 1);
    this.returning[slot] = 1;
    return this.term[slot];
  }

  /** Slots with forwards under way to `term`. */
  slotsTo(term: string): Set<number> {
    const slots = new Set<number>();
    for (let slot = 0; slot < this.term.length; slot++) if (this.term[slot] === term) slots.add(slot);
    return slots;
  }

  /** Each wait in a row is twice as long: all that waits for the slot is sent anew after it. */
  wait(slot: number, now: number): void {
    if (this.waiting.has(slot)) return;
    const doublings = Math.max(0, (this.waits.get(slot) ?? 0) - 1);
    const waitMs = Math.min(LIMITS.notOwnerRetryMsMax, LIMITS.notOwnerRetryMs * 2 ** doublings);
    this.waiting.set(slot, now + waitMs);
  }

  /** Something has changed: it may be tried at once. */
  waitNoLonger(slot: number): void {
    this.waiting.delete(slot);
    this.waits.delete(slot);
  }

  /** Slots whose wait is over by `now`, which they are rid of. */
  due(now: number): number[] {
    const slots: number[] = [];
    for (const [slot, until] of this.waiting) if (until <= now) slots.push(slot);
    for (const slot of slots) this.waiting.delete(slot);
    return slots;
  }

  /** When the first wait is over; Infinity: there is none. */
  get nextDue(): number {
    let next = Infinity;
    for (const until of this.waiting.values()) if (until < next) next = until;
    return next;
  }
}
