/**
 * The locks of a store as its journals tell them, effect by effect: who holds,
 * who waits in which order, what is delayed. Knows the rules of API.md for who
 * may be granted what, and complains where an effect breaks one:
 *
 *   exclusion  one exclusive holder; shared ones only among themselves; of a
 *              semaphore at most its limit
 *   queue      nobody is granted before an earlier waiter that it conflicts with
 *   delay      nobody is granted while a lock delay lasts
 *   durability an effect is about something that is there
 */
import type { Rule } from './history.ts';
import type { JournalEffect, JournalRow } from './journal-reader.ts';

export interface Grant {
  readonly name: string;
  readonly token: string;
  readonly fencingToken: number;
  readonly mode: number;
  readonly grantedAt: number;
  /** The term that granted it, and since when it had the slot. */
  readonly by: string;
  readonly bySince: number;
  /** The place in the queue that it came from. */
  readonly wait: Wait | undefined;
  /** The longest it ever had. */
  ttlMs: number;
  /** When its slot was last taken over from a term that did not hand it over; every TTL begins anew then. */
  takenOverAt: number;
  endedAt: number;
  reason: 'released' | 'expired' | 'forced' | 'session' | '';
}

/** A place in a queue. */
export interface Wait {
  readonly name: string;
  readonly token: string;
  readonly number: number;
  readonly queuedAt: number;
  endedAt: number;
  end: 'granted' | 'released' | 'cancelled' | 'timed out' | 'lost' | 'session' | '';
}

/** The first of a queue could have had its lock all that time. */
export interface Idle {
  readonly wait: Wait;
  readonly from: number;
  to: number;
  /** When its slot came to its last owner: who waits has time from then on to come back. */
  graceFrom: number;
}

/** Who wrote an effect, and when. */
export interface Writer {
  readonly at: number;
  readonly term: string;
  readonly since: number;
}

interface Row extends Pick<
  JournalRow,
  'name' | 'token' | 'mode' | 'limit' | 'lockDelayMs' | 'stub' | 'batch'
> {
  readonly lock: Lock;
  number: number;
  grant: Grant | undefined;
  readonly wait: Wait | undefined;
  ttlMs: number;
}

interface Lock {
  readonly slot: number;
  readonly holders: Set<Row>;
  readonly waiters: Set<Row>;
  delay: { readonly number: number; readonly ms: number; readonly since: number } | undefined;
  idle: Idle | undefined;
}

const EXCLUSIVE = 0;
const SHARED = 1;
const SEMAPHORE = 2;

const END_REASONS = ['', 'released', 'expired', 'forced', 'session'] as const;
const WITHDRAWALS = ['', 'released', 'cancelled', 'timed out', 'lost'] as const;

export class JournalState {
  readonly grants: Grant[] = [];
  readonly waits: Wait[] = [];
  readonly idles: Idle[] = [];
  /** What slots knew of sessions, and sessions themselves: until when. */
  readonly stubs: { readonly of: string; closedAt: number }[] = [];
  /** Delays that are over: how long they were to be, at least, and how long they were. */
  readonly delays: { readonly name: string; readonly ms: number; readonly lastedMs: number }[] = [];
  readonly #complain: (rule: Rule, text: string) => void;
  /** By slot and hash: two names of a run don't collide. */
  readonly #locks = new Map<string, Lock>();
  /** By slot and number. */
  readonly #rows = new Map<string, Row>();
  /** By slot and number: those of `stubs` that are open. */
  readonly #stubs = new Map<string, JournalState['stubs'][number]>();

  constructor(complain: (rule: Rule, text: string) => void) {
    this.#complain = complain;
  }

  /** The slot has another owner. One that was not handed it begins every TTL anew. */
  takenOver(slot: number, at: number, isHanded: boolean): void {
    for (const lock of this.#locks.values()) {
      if (lock.slot !== slot) continue;
      if (lock.idle !== undefined) lock.idle.graceFrom = at;
      if (!isHanded) for (const { grant } of lock.holders) grant!.takenOverAt = at;
    }
  }

  /** Places in queues that nobody has left. */
  get waiting(): readonly Wait[] {
    return this.waits.filter(({ end }) => end === '');
  }

  apply(effect: JournalEffect, by: Writer): void {
    const { slot, number, of } = effect;
    const key = `${slot} ${of}`;
    switch (effect.kind) {
      case 'granted':
        return this.#granted(effect, by);
      case 'queued':
        return this.#queued(effect, by);
      case 'opened':
        this.#stubs.set(key, { of: `${effect.name} in slot ${slot}`, closedAt: Infinity });
        this.stubs.push(this.#stubs.get(key)!);
        return;
      case 'closed':
        return this.#closed(effect, by);
      case 'confirmed':
      case 'joined':
        if (!this.#stubs.has(key)) this.#lacks(effect);
        return;
    }
    const row = this.#rows.get(key);
    if (effect.kind === 'renewed') {
      if (row !== undefined) this.#renewed(row, effect.ttlMs);
      else if (!this.#stubs.has(key)) this.#lacks(effect);
      return;
    }
    if (effect.kind === 'ended' && this.#endDelay(effect, by)) return;
    const isWaiter = row?.grant === undefined;
    const isAboutWaiter = effect.kind === 'promoted' || effect.kind === 'withdrawn';
    if (row === undefined || isWaiter !== isAboutWaiter) return this.#lacks(effect);
    if (effect.kind === 'promoted') this.#promoted(row, number, by);
    else if (effect.kind === 'withdrawn') this.#withdrawn(row, WITHDRAWALS[effect.reason], by);
    else if (effect.kind === 'cleared') this.#cleared(row, effect.onlyOne, by);
    else this.#endHolder(row, END_REASONS[effect.reason], by);
    this.#look(row.lock, by.at);
  }

  /** The run is over. */
  finish(at: number): void {
    for (const { idle } of this.#locks.values()) if (idle !== undefined) idle.to = at;
  }

  #lacks({ kind, slot, number, of }: JournalEffect): void {
    this.#complain('durability', `${kind} (${number}) of slot ${slot} names ${of}, which is not there`);
  }

  #lockOf({ slot, hash }: JournalEffect): Lock {
    const key = `${slot} ${hash}`;
    let lock = this.#locks.get(key);
    if (lock === undefined) {
      lock = { slot, holders: new Set(), waiters: new Set(), delay: undefined, idle: undefined };
      this.#locks.set(key, lock);
    }
    return lock;
  }

  #newRow(effect: JournalEffect & JournalRow, wait: Wait | undefined): Row {
    const { name, token, mode, limit, lockDelayMs, stub, batch, ttlMs, number, slot } = effect;
    for (const hangsOn of [stub, batch])
      if (hangsOn !== 0 && !this.#stubs.has(`${slot} ${hangsOn}`)) this.#lacks({ ...effect, of: hangsOn });
    const lock = this.#lockOf(effect);
    const fields = { name, token, mode, limit, lockDelayMs, stub, batch, ttlMs };
    const row: Row = { ...fields, lock, number, grant: undefined, wait };
    this.#rows.set(`${slot} ${number}`, row);
    for (const other of [...lock.holders, ...lock.waiters])
      if ((other.mode === SEMAPHORE) !== (mode === SEMAPHORE) || other.limit !== limit) {
        this.#complain('exclusion', `${name}: ${number} came in another mode than ${other.number}`);
        break;
      }
    return row;
  }

  #granted(effect: JournalEffect & { kind: 'granted' | 'queued' } & JournalRow, by: Writer): void {
    const row = this.#newRow(effect, undefined);
    this.#hold(row, row.lock.waiters, by);
    this.#look(row.lock, by.at);
  }

  #queued(effect: JournalEffect & { kind: 'granted' | 'queued' } & JournalRow, by: Writer): void {
    const { name, token, number } = effect;
    const wait: Wait = { name, token, number, queuedAt: by.at, endedAt: Infinity, end: '' };
    this.waits.push(wait);
    const row = this.#newRow(effect, wait);
    row.lock.waiters.add(row);
    this.#look(row.lock, by.at);
  }

  #promoted(row: Row, number: number, by: Writer): void {
    const { lock } = row;
    const ahead = [...lock.waiters];
    lock.waiters.delete(row);
    row.wait!.end = 'granted';
    row.wait!.endedAt = by.at;
    this.#rows.delete(`${lock.slot} ${row.number}`);
    row.number = number;
    this.#rows.set(`${lock.slot} ${number}`, row);
    this.#hold(row, ahead.slice(0, ahead.indexOf(row)), by);
  }

  /** `ahead`: who has waited for longer, in order. */
  #hold(row: Row, ahead: Iterable<Row>, by: Writer): void {
    const { lock, name, number } = row;
    if (!isBeside(row, lock.holders)) {
      const held = [...lock.holders].map((holder) => holder.number).join(', ');
      this.#complain('exclusion', `${name} was granted (${number}) while claim ${held} held it`);
    }
    if (lock.delay !== undefined)
      this.#complain('delay', `${name} was granted (${number}) during the delay of ${lock.delay.number}`);
    let places = lock.holders.size;
    for (const waiter of ahead) {
      places++;
      const mayGo =
        row.mode === SEMAPHORE ? places < row.limit : row.mode === SHARED && waiter.mode === SHARED;
      if (mayGo) continue;
      const text = `${name} was granted to ${row.wait?.number ?? 'a try'} (${number}) before ${waiter.number}, which had waited for longer`;
      this.#complain('queue', text);
      break;
    }
    const { token, mode, ttlMs, wait } = row;
    row.grant = {
      name,
      token,
      mode,
      fencingToken: number,
      grantedAt: by.at,
      by: by.term,
      bySince: by.since,
      wait,
      ttlMs,
      takenOverAt: -Infinity,
      endedAt: Infinity,
      reason: '',
    };
    lock.holders.add(row);
    this.grants.push(row.grant);
  }

  #renewed(row: Row, ttlMs: number): void {
    row.ttlMs = ttlMs;
    if (row.grant !== undefined) row.grant.ttlMs = Math.max(row.grant.ttlMs, ttlMs);
  }

  #withdrawn(row: Row, end: Wait['end'], by: Writer): void {
    const { lock } = row;
    row.wait!.end = end;
    row.wait!.endedAt = by.at;
    lock.waiters.delete(row);
    this.#rows.delete(`${lock.slot} ${row.number}`);
  }

  #cleared(row: Row, onlyOne: boolean, by: Writer): void {
    for (const holder of onlyOne ? [row] : [...row.lock.holders]) this.#endHolder(holder, 'forced', by);
  }

  #endHolder(row: Row, reason: Grant['reason'], { at }: Writer): void {
    const { lock, number, lockDelayMs } = row;
    row.grant!.endedAt = at;
    row.grant!.reason = reason;
    lock.holders.delete(row);
    this.#rows.delete(`${lock.slot} ${number}`);
    if (lockDelayMs > 0 && reason !== 'released') lock.delay = { number, ms: lockDelayMs, since: at };
  }

  #closed(effect: JournalEffect, by: Writer): void {
    const { slot, of } = effect;
    const stub = this.#stubs.get(`${slot} ${of}`);
    if (stub === undefined) return this.#lacks(effect);
    stub.closedAt = by.at;
    this.#stubs.delete(`${slot} ${of}`);
    for (const row of [...this.#rows.values()]) {
      if (row.lock.slot !== slot || (row.stub !== of && row.batch !== of)) continue;
      if (row.grant === undefined) this.#withdrawn(row, 'session', by);
      else this.#endHolder(row, 'session', by);
      this.#look(row.lock, by.at);
    }
  }

  /** False: the effect is not about a delay. */
  #endDelay(effect: JournalEffect, by: Writer): boolean {
    const lock = this.#lockOf(effect);
    const { delay } = lock;
    if (delay?.number !== effect.of) return false;
    lock.delay = undefined;
    this.delays.push({ name: `slot ${lock.slot}`, ms: delay.ms, lastedMs: by.at - delay.since });
    this.#look(lock, by.at);
    return true;
  }

  /** Whether the first of the queue could be granted its lock now. */
  #look(lock: Lock, at: number): void {
    const { idle } = lock;
    const [first] = lock.waiters;
    const wait =
      first !== undefined && lock.delay === undefined && isBeside(first, lock.holders)
        ? first.wait
        : undefined;
    if (idle?.wait === wait) return;
    if (idle !== undefined) idle.to = at;
    lock.idle = wait === undefined ? undefined : { wait, from: at, to: Infinity, graceFrom: at };
    if (lock.idle !== undefined) this.idles.push(lock.idle);
  }
}

/** It may hold the lock together with these. */
function isBeside({ mode, limit }: Row, holders: ReadonlySet<Row>): boolean {
  if (holders.size === 0) return true;
  if (mode === EXCLUSIVE) return false;
  const [one] = holders;
  if (mode === SHARED) return one.mode === SHARED;
  return one.mode === SEMAPHORE && one.limit === limit && holders.size < limit;
}
