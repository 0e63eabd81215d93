/**
 * What a slot has to do, written down a second time and as plainly as possible:
 * the model that the machine is held against. Nothing of src/lock is used here.
 */
import { hashOf, type OpWords } from './op-words.ts';
import {
  clockOf,
  limitOf,
  Lock,
  mayHave,
  type Member,
  modeOf,
  newTimes,
  type Stub,
  type Times,
} from './reference-rows.ts';
import type { Heard } from './slot-rig.ts';

const KEYED_MS = 300_000;
const GRACE_MS = 5_000;
const PENDING_MS = 10_000;

interface Away {
  readonly times: Times;
  readonly ttlMs: number;
  readonly gone: () => boolean;
}

export class ReferenceSlot {
  counter = 0;
  now = 1_000;
  heard: Heard[] = [];
  readonly locks = new Map<string, Lock>();
  readonly stubs = new Map<string, Stub>();
  /** Locks that may have become free for somebody, in this order. */
  readonly free = new Set<string>();
  private readonly ended = new Map<string, number>();
  private latest = 0;
  private latestKeyed = 0;
  private open: Away[] = [];
  private flight: Away[] | undefined;
  private sentAt = 0;
  readonly keepMs: number;

  constructor(keepMs: number) {
    this.keepMs = keepMs;
  }

  // ---- rounds and time

  send(): void {
    if (this.flight !== undefined) return;
    this.flight = this.open;
    this.open = [];
    this.sentAt = this.now;
  }

  land(): void {
    for (const { times, ttlMs, gone } of this.flight ?? []) {
      if (gone()) continue;
      times.promisedUntil = this.sentAt + ttlMs;
      if (--times.away === 0) times.freeAt = this.now + ttlMs + ttlMs / 2_000 + 10;
    }
    this.flight = undefined;
  }

  willLand(times: Times, ttlMs: number, gone: () => boolean): void {
    this.open.push({ times, ttlMs, gone });
  }

  /** Everything that is over ends, by the age of what it is. */
  expireAll(): void {
    for (const number of this.numbers()) {
      const before = this.counter;
      const { lock, name, member, stub } = this.withNumber(number);
      if (stub !== undefined) {
        if (stub.times.freeAt <= this.now) this.closeStub(stub);
      } else if (lock?.delay?.number === number) {
        if (lock.delay.until <= this.now) this.endDelay(lock);
      } else if (member !== undefined && lock!.waiters.includes(member)) {
        if (member.until <= this.now) this.timeOut(lock!, member);
      } else if (member !== undefined && member.session === undefined && member.batch === undefined) {
        if (member.times.freeAt <= this.now) this.endHolder(lock!, member, 'expired');
      }
      if (lock !== undefined && this.counter > before) this.grantWaiting(name);
      this.work();
    }
  }

  private numbers(): number[] {
    const locks = [...this.locks.values()];
    const members = locks.flatMap((lock) => [
      ...lock.members.map((member) => member.number),
      ...(lock.delay === undefined ? [] : [lock.delay.number]),
    ]);
    return [...members, ...[...this.stubs.values()].map((stub) => stub.number)].sort((a, b) => a - b);
  }

  private withNumber(number: number): {
    name: string;
    lock?: Lock;
    member?: Member | undefined;
    stub?: Stub | undefined;
  } {
    for (const [name, lock] of this.locks) {
      const member = lock.members.find((one) => one.number === number);
      if (member !== undefined || lock.delay?.number === number) return { name, lock, member };
    }
    return { name: '', stub: [...this.stubs.values()].find((one) => one.number === number) };
  }

  /** What was put off is granted. */
  work(): void {
    for (const name of this.free) {
      this.free.delete(name);
      this.grantWaiting(name);
    }
  }

  // ---- locks

  lockOf(name: string): Lock {
    let lock = this.locks.get(name);
    if (lock === undefined) this.locks.set(name, (lock = new Lock()));
    return lock;
  }

  /** What is over on this lock ends, and who waits for that is granted it. */
  settle(name: string): Lock {
    const lock = this.lockOf(name);
    for (const holder of [...lock.holders]) {
      if (!lock.holders.includes(holder) || clockOf(holder).freeAt > this.now) continue;
      const stub = holder.batch ?? holder.session;
      if (stub === undefined) this.endHolder(lock, holder, 'expired');
      else this.closeStub(stub);
    }
    this.grantWaiting(name);
    if (lock.delay !== undefined && lock.delay.until <= this.now) this.endDelay(lock);
    return lock;
  }

  /** First come, first served; who is not there is passed over, and keeps everybody off whom it conflicts with. */
  grantWaiting(name: string, self?: Member): void {
    const lock = this.lockOf(name);
    this.free.delete(name);
    if (lock.waiters.length === 0) return;
    if (lock.delay !== undefined) {
      if (lock.delay.until > this.now) return;
      this.endDelay(lock);
    }
    for (const waiter of [...lock.waiters]) {
      if (waiter.until <= this.now && waiter !== self) {
        this.timeOut(lock, waiter);
        continue;
      }
      const ahead = lock.waiters.slice(0, lock.waiters.indexOf(waiter));
      if (!mayHave(waiter.op, lock, ahead)) return;
      if (waiter.attached !== undefined) this.grantTo(lock, waiter, self);
      else if (modeOf(waiter.op) === 'exclusive') return;
    }
  }

  private grantTo(lock: Lock, waiter: Member, self?: Member): void {
    lock.waiters = lock.waiters.filter((one) => one !== waiter);
    lock.holders.push(waiter);
    waiter.number = ++this.counter;
    const { attached } = waiter;
    if (waiter.session === undefined) this.startTimes(lock, waiter);
    waiter.attached = undefined;
    waiter.listening = attached!.events;
    if (waiter !== self) this.heard.push({ what: 'granted', of: attached!.attempt, more: waiter.number });
  }

  /** Its times start with the round that is open. */
  startTimes(lock: Lock, holder: Member): void {
    const { number } = holder;
    Object.assign(holder.times, newTimes());
    this.willLand(
      holder.times,
      holder.ttlMs,
      () => !lock.holders.includes(holder) || holder.number !== number,
    );
  }

  timeOut(lock: Lock, waiter: Member): void {
    this.counter++;
    this.leave(lock, waiter, 'wait_timeout');
  }

  leave(lock: Lock, waiter: Member, code: string): void {
    lock.waiters = lock.waiters.filter((one) => one !== waiter);
    if (waiter.attached !== undefined)
      this.heard.push({ what: 'refused', of: waiter.attached.attempt, more: code });
  }

  endHolder(lock: Lock, holder: Member, why: 'released' | 'expired'): void {
    this.counter++;
    this.end(lock, holder, why);
  }

  /** With the effect of whatever ended it. */
  end(lock: Lock, holder: Member, why: 'released' | 'expired' | 'forced' | 'session'): void {
    const wasPending = holder.batch !== undefined;
    lock.holders = lock.holders.filter((one) => one !== holder);
    if (wasPending) return;
    if (holder.listening && why !== 'released') {
      const more = { expired: 102, forced: 103, session: 104 }[why];
      this.heard.push({ what: 'lost', of: holder.number, more });
    }
    this.remember(holder);
    const delayMs = holder.op.lockDelayMs ?? 0;
    if (why === 'released' || delayMs === 0) return;
    const { delay } = lock;
    const until = Math.max(this.now + delayMs, delay?.until ?? 0);
    lock.delay = { number: holder.number, until, ttlMs: Math.max(delayMs, delay?.ttlMs ?? 0) };
  }

  private endDelay(lock: Lock): void {
    this.counter++;
    lock.delay = undefined;
  }

  // ---- what has ended

  remember({ name, token, op }: Member): void {
    const isKeyed = op.flags?.includes('keyed') ?? false;
    this.ended.set(`${isKeyed ? 'keyed ' : ''}${hashOf(name)} ${token}`, Math.ceil(this.now));
    if (isKeyed) this.latestKeyed = this.now;
    else this.latest = this.now;
  }

  remembers(name: string, token: string): boolean {
    const within = (key: string, ms: number): boolean => {
      const at = this.ended.get(key);
      return at !== undefined && this.now - at < ms;
    };
    const key = `${hashOf(name)} ${token}`;
    return within(key, this.keepMs) || within(`keyed ${key}`, KEYED_MS);
  }

  wasClosed(key: string): boolean {
    const at = this.ended.get(`stub ${key}`);
    return at !== undefined && this.now - at < this.keepMs;
  }

  // ---- sessions and batches

  makeStub(key: string, of: Stub['of'], principal: string, ttlMs: number): Stub {
    const number = ++this.counter;
    const times = newTimes();
    const stub: Stub = { key, of, number, principal, ttlMs, times, slots: new Map(), over: false };
    this.stubs.set(key, stub);
    if (of === 'session') return stub;
    this.willLand(times, of === 'batch' ? PENDING_MS : ttlMs, () => stub.over);
    this.heard.push({ what: 'begins', of: number });
    return stub;
  }

  membersOf(stub: Stub): { name: string; lock: Lock; member: Member }[] {
    const found = [...this.locks].flatMap(([name, lock]) =>
      lock.members
        .filter(({ session, batch }) => session === stub || batch === stub)
        .map((member) => ({ name, lock, member })),
    );
    return found.sort((a, b) => a.member.number - b.member.number);
  }

  /** It is over, and all that hangs on it. Returns how many claims ended. */
  closeStub(stub: Stub): number {
    this.counter++;
    let ended = 0;
    for (const { name, lock, member } of this.membersOf(stub)) {
      if (lock.waiters.includes(member)) {
        this.leave(lock, member, 'session_ended');
      } else {
        ended++;
        this.end(lock, member, 'session');
      }
      if (lock.waiters.length > 0) this.free.add(name);
    }
    this.ended.set(`stub ${stub.key}`, Math.ceil(this.now));
    this.latest = this.now;
    this.drop(stub);
    return ended;
  }

  drop(stub: Stub): void {
    stub.over = true;
    this.stubs.delete(stub.key);
  }

  /** As an heir finds it: nobody is attached, all times begin anew, and what ended did so just now. */
  takeOver(): void {
    for (const times of this.detachAll()) restart(times.times, this.now, times.ttlMs);
    for (const { delay } of this.locks.values()) if (delay) delay.until = this.now + delay.ttlMs;
    for (const key of this.ended.keys()) this.ended.set(key, Math.ceil(this.now));
    this.latest = this.now;
    this.latestKeyed = this.now;
  }

  /** As the one finds it to whom it is handed: times go on, in whole milliseconds that are left. */
  handOver(): void {
    for (const { times, ttlMs } of this.detachAll()) {
      const whole = ttlMs + ttlMs / 2_000 + 10;
      const left = Math.min(whole, Math.ceil(Math.min(whole, Math.max(0, times.freeAt - this.now))));
      restart(times, this.now, ttlMs);
      times.freeAt = this.now + left;
      times.promisedUntil = this.now + Math.max(0, left - (ttlMs / 2_000 + 10));
    }
    for (const { delay } of this.locks.values())
      if (delay)
        delay.until = this.now + Math.min(delay.ttlMs, Math.ceil(Math.max(0, delay.until - this.now)));
    for (const [key, at] of this.ended) {
      const isKeyed = key.startsWith('keyed');
      const latest = isKeyed ? this.latestKeyed : this.latest;
      // An heir who reads the whole journal would know of it again.
      if (this.now - at >= (isKeyed ? KEYED_MS : this.keepMs)) this.ended.set(key, -Infinity);
      else this.ended.set(key, Math.ceil(this.now - Math.max(0, Math.floor(latest - at))));
    }
    this.latest = this.now;
    this.latestKeyed = this.now;
  }

  detach(connection: number): void {
    for (const lock of this.locks.values()) {
      for (const waiter of lock.waiters) {
        if (waiter.attached?.connection !== connection) continue;
        waiter.attached = undefined;
        waiter.until = Math.min(waiter.until, this.now + GRACE_MS);
      }
    }
  }

  /** What an owner has in memory only is gone. Returns all that have times. */
  private detachAll(): { times: Times; ttlMs: number }[] {
    this.open = [];
    this.flight = undefined;
    const locks = [...this.locks.values()];
    for (const holder of locks.flatMap((lock) => lock.holders)) holder.listening = false;
    for (const waiter of locks.flatMap((lock) => lock.waiters)) {
      waiter.attached = undefined;
      waiter.until = this.now + GRACE_MS;
    }
    return [...locks.flatMap((lock) => lock.holders), ...this.stubs.values()];
  }
}

function restart(times: Times, now: number, ttlMs: number): void {
  times.away = 0;
  times.promisedUntil = now + ttlMs;
  times.freeAt = now + ttlMs + ttlMs / 2_000 + 10;
}

/** The token of a claim that was granted tells the same op, or it does not. */
export function isSame(member: Member, op: OpWords, sessionKey: string | undefined): boolean {
  return (
    (member.op.principal ?? '') === (op.principal ?? '') &&
    modeOf(member.op) === modeOf(op) &&
    limitOf(member.op) === limitOf(op) &&
    member.session?.key === sessionKey
  );
}
