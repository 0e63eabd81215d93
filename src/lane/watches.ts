/**
 * Who watches which locks of one shard's slots. In memory only: when a slot
 * leaves, its watchers are told so and come back to whoever serves it then.
 *
 *   watched ──► due ──a round is sealed──► told with that round ──► watched …
 *              (just come, or the lock changed)
 *
 * States are written when a round is sealed, so one round tells each watcher at
 * most once, and nothing that is not in that round or an earlier one.
 */
import { LIMITS } from '../limits.ts';
import { latin1 } from '../lock/latin1.ts';
import { findLock } from '../lock/lock-view.ts';
import type { Slot } from '../lock/slot.ts';
import { Kind, type Op } from '../op.ts';
import { Answer, Event } from '../protocol/answer.ts';
import { writeLock } from './describe.ts';
import { type Addressee, type Round, Todo } from './round.ts';

export interface Watcher {
  readonly connection: number;
  readonly attempt: number;
  readonly id: number;
}

/** A lock that somebody watches; the values of `slot.aside.watched`. */
class Watch {
  readonly slot: Slot;
  readonly key: Uint8Array;
  readonly hash: number;
  readonly watchers = new Map<string, Watcher>();
  /** Those that do not know the lock's last state. */
  readonly due = new Set<Watcher>();

  constructor(slot: Slot, key: Uint8Array, hash: number) {
    this.slot = slot;
    this.key = key;
    this.hash = hash;
  }
}

const answer = new Answer();

export class Watches {
  /** Watches with somebody who is due. */
  private readonly pending = new Set<Watch>();

  /** Somebody is to be told something with the next round. */
  get due(): boolean {
    return this.pending.size > 0;
  }

  /** The watch that `op` asks for: its first state comes with the open round. */
  add(slot: Slot, op: Op): void {
    const text = keyText(op);
    let watch = slot.aside.watched.get(text) as Watch | undefined;
    if (watch === undefined) {
      watch = new Watch(slot, op.bytes.slice(op.keyAt, op.keyAt + op.keyLength), op.hash);
      slot.aside.watched.set(text, watch);
    }
    const { connection, attempt, id } = op;
    const before = watch.watchers.get(identity(op));
    if (before !== undefined) watch.due.delete(before);
    const watcher: Watcher = { connection, attempt, id };
    watch.watchers.set(identity(op), watcher);
    watch.due.add(watcher);
    this.pending.add(watch);
  }

  /** Ends the watch that `op` names by its connection and attempt; undefined when there is none. */
  end(slot: Slot, op: Op): Watcher | undefined {
    const text = keyText(op);
    const watch = slot.aside.watched.get(text) as Watch | undefined;
    const watcher = watch?.watchers.get(identity(op));
    if (watch === undefined || watcher === undefined) return undefined;
    this.drop(slot, text, watch, identity(op), watcher);
    return watcher;
  }

  private drop(slot: Slot, text: string, watch: Watch, identity: string, watcher: Watcher): void {
    watch.watchers.delete(identity);
    watch.due.delete(watcher);
    if (watch.due.size === 0) this.pending.delete(watch);
    if (watch.watchers.size === 0) slot.aside.watched.delete(text);
  }

  /** Nobody is at this connection any more. */
  forget(slot: Slot, connection: number): void {
    if (!slot.isWatched) return;
    for (const [text, watch] of slot.aside.watched as Map<string, Watch>) {
      for (const [identity, watcher] of watch.watchers) {
        if (watcher.connection === connection) this.drop(slot, text, watch, identity, watcher);
      }
    }
  }

  /** What a get would show of this key has changed. */
  changed(slot: Slot, key: string): void {
    const watch = slot.aside.watched.get(key) as Watch | undefined;
    if (watch === undefined || watch.due.size === watch.watchers.size) return;
    for (const watcher of watch.watchers.values()) watch.due.add(watcher);
    this.pending.add(watch);
  }

  /** Writes the states that are due into `round`, which is about to leave; what would be too much waits for the next. */
  tell(round: Round): void {
    if (this.pending.size === 0) return;
    const end = round.answers.length + LIMITS.roundWatchBytesMax;
    for (const watch of this.pending) {
      for (const watcher of watch.due) {
        if (round.answers.length >= end) return;
        writeState(round, watch, watcher);
        watch.due.delete(watcher);
      }
      this.pending.delete(watch);
    }
  }

  /** Nobody watches this slot any more: hands over who did. */
  leave(slot: Slot, give: (watcher: Watcher) => void): void {
    if (!slot.isWatched) return;
    for (const watch of slot.aside.watched.values() as IterableIterator<Watch>) {
      this.pending.delete(watch);
      for (const watcher of watch.watchers.values()) give(watcher);
    }
    slot.aside.watched.clear();
  }
}

function writeState(round: Round, watch: Watch, watcher: Watcher): void {
  const { slot, key, hash } = watch;
  answer.id = watcher.id;
  answer.status = Event.changed;
  answer.code = 0;
  const start = writeLock(round, answer, slot, findLock(slot, key, 0, key.length, hash));
  round.tell(addresseeOf(watcher, slot.number, Infinity), 0, Todo.event, start);
}

/** For an answer to a watcher that waits for it since `since`. */
export function addresseeOf(watcher: Watcher, slot: number, since: number): Addressee {
  const { connection, id } = watcher;
  return { connection, id, kind: Kind.watch, slot, receivedAt: since, since };
}

function identity({ connection, attempt }: Op): string {
  return `${connection}:${attempt}`;
}

/** As the machine writes keys. */
function keyText(op: Op): string {
  return latin1(op.bytes, op.keyAt, op.keyLength);
}
