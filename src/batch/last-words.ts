/**
 * Ends what is under way to terms of other processes that will not answer it:
 * because the term is over, or, for waits and watches, which are answered at
 * any time or never, because it owns their slot no longer.
 */
import type { Clock } from '../clock.ts';
import type { TermInfo } from '../lane/messages.ts';
import { LIMITS } from '../limits.ts';
import type { Forwards } from './forwards.ts';
import type { Owners, Term } from './owners.ts';

/** Of whoever has something under way to other processes. */
export interface GivingUp {
  /** What is under way to the process for these slots is given up: nobody will answer it. */
  abandon(process: string, slots: ReadonlySet<number>): void;
  /** The same, after a moment for their last answers, for waits and watches: the process owns their slots no longer. */
  endStanding(process: string, slots: ReadonlySet<number>): void;
}

/** How long the answers of a term that is over are waited for: the time after which it was noticed, about. */
const LAST_WORDS_MS = LIMITS.termPollMs;

export class LastWords {
  private readonly clock: Clock;
  private readonly map: Owners;
  private readonly forwards: Forwards;
  private readonly forwarder: () => GivingUp;
  /** Slots that are no longer their owner's, by its process, until `told`. */
  private moved = new Map<string, Set<number>>();

  constructor(clock: Clock, map: Owners, forwards: Forwards, forwarder: () => GivingUp) {
    this.clock = clock;
    this.map = map;
    this.forwards = forwards;
    this.forwarder = forwarder;
  }

  /** Its last refusals may still be on their way. */
  termOver({ id, process }: TermInfo): void {
    const owned = this.map.slotsOf(id);
    if (owned.size > 0) this.forwarder().endStanding(process, owned);
    if (this.forwards.slotsTo(id).size === 0) return;
    this.clock.after(LAST_WORDS_MS, () => {
      const slots = this.forwards.slotsTo(id);
      if (slots.size > 0 && this.map.alive(id) === undefined) this.forwarder().abandon(process, slots);
    });
  }

  /** The slot was `owner`'s until now. */
  slotMoved(slot: number, owner: Term): void {
    const { info } = owner;
    if (info === undefined || this.map.isOwn(owner)) return;
    const slots = this.moved.get(info.process) ?? new Set();
    this.moved.set(info.process, slots.add(slot));
  }

  /** All of a message's slots were named. */
  tell(): void {
    if (this.moved.size === 0) return;
    const { moved } = this;
    this.moved = new Map();
    for (const [process, slots] of moved) this.forwarder().endStanding(process, slots);
  }
}
