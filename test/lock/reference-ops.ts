/** The ops of the reference model: what API.md says of each, in its order. */
import { Kind } from '../../src/op.ts';
import { keyOf, type OpWords } from './op-words.ts';
import { limitOf, type Lock, mayHave, type Member, modeOf, newTimes, type Stub } from './reference-rows.ts';
import { isSame, ReferenceSlot } from './reference-slot.ts';
import type { Said } from './slot-rig.ts';

type Answer = Omit<Said, 'changed'>;

export class Reference extends ReferenceSlot {
  run(words: OpWords): Said {
    const before = this.counter;
    const op = { receivedAt: this.now, ...words };
    const answer = Kind[op.kind] >= Kind.sessionOpen ? this.session(op) : this.decide(op);
    const said = { ...answer, changed: this.counter > before };
    this.work();
    return said;
  }

  private decide(op: OpWords): Answer {
    switch (op.kind) {
      case 'acquire':
        return this.acquire(op);
      case 'renew':
        return this.renew(op);
      case 'release':
        return this.release(op);
      case 'get': {
        const lock = this.settle(op.name);
        return {
          ...say(200),
          ...this.tellLock(lock),
          ...(lock.shown.length > 0 && { holders: lock.shown.length }),
        };
      }
      case 'verify':
        return this.verify(op);
      case 'cancel':
        return this.cancel(op);
      default:
        return this.force(op);
    }
  }

  // ---- acquire

  private acquire(op: OpWords): Answer {
    const [sessionKey, batchKey] = [stubKey(op, 'session'), stubKey(op, 'batch')];
    for (const key of [sessionKey, batchKey]) {
      const stub = this.stubs.get(key ?? '');
      if (stub === undefined || stub.times.freeAt > this.now) continue;
      this.closeStub(stub);
      break;
    }
    const lock = this.settle(op.name);
    const known = lock.members.find((member) => member.token === op.token);
    if (known !== undefined) return this.repeat(op, lock, known, sessionKey);
    if (this.remembers(op.name, op.token!)) return say(410, 'not_held');
    if (lock.rule !== undefined && !goTogether(lock.rule.op, op))
      return { ...say(409, 'mode_conflict'), ...this.tellLock(lock) };
    const principal = op.principal ?? '';
    const session = this.stubs.get(sessionKey ?? '');
    const mayMake = (op.flags?.includes('newStub') ?? false) && !this.wasClosed(sessionKey ?? '');
    if (sessionKey !== undefined && (session === undefined ? !mayMake : session.principal !== principal))
      return say(410, 'session_ended');
    if (batchKey !== undefined && !this.stubs.has(batchKey) && this.wasClosed(batchKey))
      return say(410, 'not_held');
    const granted = mayHave(op, lock, lock.waiters);
    if (!granted && ((op.waitMs ?? 0) === 0 || batchKey !== undefined))
      return { ...say(409, 'lock_held'), ...this.tellLock(lock) };
    const member = this.newMember(op, sessionKey, batchKey);
    return granted ? this.grant(lock, member) : this.queue(lock, member);
  }

  private newMember(op: OpWords, sessionKey: string | undefined, batchKey: string | undefined): Member {
    const principal = op.principal ?? '';
    const ttlMs = op.ttlMs ?? 30_000;
    const find = (key: string | undefined, of: Stub['of'], ms: number) =>
      key === undefined ? undefined : (this.stubs.get(key) ?? this.makeStub(key, of, principal, ms));
    const session = find(sessionKey, 'stub', ttlMs);
    const batch = find(batchKey, 'batch', 10_000);
    return {
      op,
      name: op.name,
      token: op.token!,
      session,
      batch,
      number: ++this.counter,
      ttlMs: session?.ttlMs ?? ttlMs,
      metadata: op.metadata ?? '',
      times: newTimes(),
      listening: false,
      until: Infinity,
      attached: undefined,
    };
  }

  private grant(lock: Lock, member: Member): Answer {
    lock.holders.push(member);
    const hasOwnTime = member.session === undefined && member.batch === undefined;
    if (hasOwnTime) this.startTimes(lock, member);
    member.listening = wantsEvents(member.op);
    return { ...say(201), ...tell(member), armable: hasOwnTime };
  }

  private queue(lock: Lock, member: Member): Answer {
    lock.waiters.push(member);
    this.attach(member, member.op);
    for (const holder of lock.holders)
      if (holder.listening) this.heard.push({ what: 'contended', of: holder.number });
    return { ...say(0), queued: lock.waiters.length };
  }

  private attach(member: Member, op: OpWords): void {
    member.attached = {
      connection: op.connection ?? 0,
      attempt: op.attempt ?? 0,
      events: wantsEvents(op),
    };
    member.until = op.receivedAt! + op.waitMs!;
  }

  private repeat(op: OpWords, lock: Lock, member: Member, sessionKey: string | undefined): Answer {
    if (!isSame(member, op, sessionKey)) return say(422, 'idempotency_mismatch');
    const waits = lock.waiters.includes(member);
    if (!waits && member.batch === undefined) {
      member.listening ||= wantsEvents(op);
      return { ...say(200), ...tell(member) };
    }
    if (!waits || (op.waitMs ?? 0) === 0) return { ...say(409, 'lock_held'), ...this.tellLock(lock) };
    const { attached } = member;
    const same = attached?.connection === (op.connection ?? 0) && attached.attempt === (op.attempt ?? 0);
    if (attached !== undefined && !same)
      this.heard.push({ what: 'refused', of: attached.attempt, more: 'cancelled' });
    this.attach(member, op);
    this.grantWaiting(op.name, member);
    if (lock.waiters.includes(member)) return { ...say(0), queued: lock.waiters.indexOf(member) + 1 };
    return { ...say(201), ...tell(member), armable: member.session === undefined };
  }

  // ---- with a token

  /** The holder or waiter whose token is shown by who had it, if it is not over. */
  private mine(op: OpWords): { lock: Lock; member: Member | undefined } {
    const lock = this.settle(op.name);
    const member = lock.members.find(
      (one) => one.token === op.token && (one.op.principal ?? '') === (op.principal ?? ''),
    );
    return { lock, member };
  }

  private renew(op: OpWords): Answer {
    const { lock, member } = this.mine(op);
    if (member === undefined || lock.waiters.includes(member) || member.batch !== undefined)
      return say(410, 'not_held');
    if (member.session !== undefined) return say(409, 'session_bound');
    const ttlMs = op.ttlMs ?? member.ttlMs;
    if (ttlMs !== member.ttlMs || op.metadata) this.counter++;
    member.ttlMs = ttlMs;
    if (op.metadata) member.metadata = op.metadata;
    member.times.freeAt = Infinity;
    member.times.away++;
    member.listening ||= wantsEvents(op);
    const { number } = member;
    this.willLand(member.times, ttlMs, () => !lock.holders.includes(member) || member.number !== number);
    return { ...say(200), ...tell(member), armable: true };
  }

  private release(op: OpWords): Answer {
    const { lock, member } = this.mine(op);
    if (member === undefined || member.batch !== undefined) return say(410, 'not_held');
    if (lock.waiters.includes(member)) {
      this.counter++;
      this.remember(member);
      this.leave(lock, member, 'cancelled');
    } else {
      this.endHolder(lock, member, 'released');
    }
    this.grantWaiting(op.name);
    return say(204);
  }

  private verify(op: OpWords): Answer {
    const { lock, member } = this.mine(op);
    const meant =
      op.fencingToken === undefined ? member : lock.holders.find((one) => one.number === op.fencingToken);
    if (meant === undefined || !lock.shown.includes(meant)) return say(200);
    return { ...say(200), ...tell(meant), current: true };
  }

  private cancel(op: OpWords): Answer {
    const { lock, member } = this.mine(op);
    if (member === undefined || !lock.waiters.includes(member)) return say(410, 'not_held');
    const { attached } = member;
    if (
      attached !== undefined &&
      (attached.connection !== (op.connection ?? 0) || attached.attempt !== (op.attempt ?? 0))
    )
      return say(410, 'not_held');
    this.counter++;
    this.leave(lock, member, 'cancelled');
    this.grantWaiting(op.name);
    return say(200);
  }

  private force(op: OpWords): Answer {
    const lock = this.settle(op.name);
    const all = (op.fencingToken ?? 0) === 0;
    const meant = lock.shown.filter((holder) => all || holder.number === op.fencingToken);
    if (meant.length === 0) return all ? say(200) : say(410, 'not_held');
    this.counter++;
    for (const holder of meant) this.end(lock, holder, 'forced');
    this.grantWaiting(op.name);
    return { ...say(200), released: meant.length };
  }

  private tellLock(lock: Lock): Partial<Answer> {
    const [oldest] = lock.shown;
    const rule = oldest ?? lock.rule;
    const mode = rule === undefined ? 'exclusive' : modeOf(rule.op);
    const limit = rule === undefined ? 0 : limitOf(rule.op);
    const retryAfterMs = lock.delay === undefined ? 0 : Math.max(0, Math.ceil(lock.delay.until - this.now));
    return {
      ...(oldest !== undefined && tell(oldest)),
      ...(lock.waiters.length > 0 && { queueLength: lock.waiters.length }),
      ...(mode !== 'exclusive' && { mode }),
      ...(limit > 0 && { limit }),
      ...(retryAfterMs > 0 && { retryAfterMs }),
    };
  }

  // ---- sessions and stubs

  private session(op: OpWords): Answer {
    const key = Buffer.from(keyOf(op)).toString('latin1');
    let stub = this.stubs.get(key);
    if (stub !== undefined && stub.times.freeAt <= this.now) {
      this.closeStub(stub);
      stub = undefined;
    }
    if (op.kind === 'stubEnd') {
      const released = stub === undefined ? 0 : this.closeStub(stub);
      return { ...say(200), ...(released > 0 && { released }) };
    }
    if (op.kind === 'confirm') return this.confirm(op, stub);
    if (op.kind === 'sessionOpen') return this.openSession(op, key, stub);
    const isStub = op.kind === 'stubRenew';
    if (stub === undefined || (!isStub && stub.principal !== (op.principal ?? '')))
      return say(410, 'session_ended');
    const answer: Answer = { ...say(200), fencingToken: stub.number, ttlMs: stub.ttlMs };
    if (isStub && op.ttlMs !== undefined && op.ttlMs !== stub.ttlMs) {
      this.counter++;
      stub.ttlMs = op.ttlMs;
    }
    if (isStub || op.kind === 'sessionRenew') this.renewStub(stub);
    if (op.kind === 'sessionJoin' || op.kind === 'sessionActivate') return this.join(op, stub, answer);
    if (op.kind === 'sessionEnd') this.closeStub(stub);
    const slots = JSON.stringify([...stub.slots].map(([slot, active]) => [slot, active ? 1 : 0]));
    const armable = isStub || op.kind === 'sessionRenew';
    return { ...answer, ttlMs: stub.ttlMs, armable, ...(!isStub && { slots }) };
  }

  private renewStub(stub: Stub): void {
    stub.times.freeAt = Infinity;
    stub.times.away++;
    this.willLand(stub.times, stub.ttlMs, () => stub.over);
  }

  private openSession(op: OpWords, key: string, stub: Stub | undefined): Answer {
    const principal = op.principal ?? '';
    if (stub !== undefined) {
      if (stub.principal !== principal) return say(422, 'idempotency_mismatch');
      return { ...say(200), fencingToken: stub.number, ttlMs: stub.ttlMs };
    }
    if (this.wasClosed(key)) return say(410, 'session_ended');
    const made = this.makeStub(key, 'session', principal, op.ttlMs ?? 30_000);
    this.willLand(made.times, made.ttlMs, () => made.over);
    return { ...say(201), fencingToken: made.number, ttlMs: made.ttlMs, armable: true };
  }

  private join(op: OpWords, stub: Stub, answer: Answer): Answer {
    const before = stub.slots.get(op.fencingToken!);
    const active = op.kind === 'sessionActivate';
    if (before === undefined || (active && !before)) {
      this.counter++;
      stub.slots.set(op.fencingToken!, active);
    }
    return { ...answer, ...(!active && before === true && { slotState: 1 }) };
  }

  private confirm(op: OpWords, stub: Stub | undefined): Answer {
    if (stub === undefined) return say(410, 'not_held');
    const members = this.membersOf(stub);
    if (members.length !== (op.fencingToken ?? 0)) {
      this.closeStub(stub);
      return say(410, 'not_held');
    }
    this.counter++;
    for (const { lock, member } of members) {
      member.batch = undefined;
      if (member.session !== undefined) continue;
      this.startTimes(lock, member);
      this.heard.push({ what: 'begins', of: member.number });
    }
    this.drop(stub);
    return say(200);
  }
}

function stubKey(op: OpWords, of: 'session' | 'batch'): string | undefined {
  if (op[of] === undefined) return undefined;
  const { name } = op;
  const words = { kind: 'stubEnd' as const, name, [of]: op[of] };
  return Buffer.from(keyOf(words)).toString('latin1');
}

/** Exclusive and shared claims queue for one lock; those of a semaphore only with the same limit. */
function goTogether(a: OpWords, b: OpWords): boolean {
  const isSemaphore = [a, b].map((op) => modeOf(op) === 'semaphore');
  if (!isSemaphore[0] || !isSemaphore[1]) return isSemaphore[0] === isSemaphore[1];
  return limitOf(a) === limitOf(b);
}

function wantsEvents(op: OpWords): boolean {
  return op.flags?.includes('events') ?? false;
}

function tell(member: Member): { fencingToken: number; ttlMs: number } {
  return { fencingToken: member.number, ttlMs: member.session?.ttlMs ?? member.ttlMs };
}

function say(status: number, code = ''): Answer {
  return { status, code, fencingToken: 0, ttlMs: 0, armable: false, current: false };
}
