/**
 * What a TinyLane keeps beside its claims: who waits for them, who watches,
 * and sessions that have no more than a name.
 */
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { type Answer, Section } from '../../src/protocol/answer.ts';

/** Who is told of something, by the answer that it is for. */
export interface Attachment {
  readonly connection: number;
  readonly attempt: number;
  readonly id: number;
  readonly receivedAt: number;
}

export interface Waiter {
  readonly key: string;
  readonly token: string;
  /** The op, with bytes of its own: it is granted as if it had just come. */
  readonly op: Op;
  readonly slot: number;
  /** undefined: its front has not come back for it. */
  attachment: Attachment | undefined;
}

export interface Watcher extends Attachment {
  readonly key: string;
  readonly slot: number;
}

/** Who hears what becomes of a claim. */
export interface Listener {
  readonly connection: number;
  readonly id: number;
}

export interface Claim {
  key: Buffer;
  token: string;
  fencingToken: number;
  owner: Buffer;
  metadata: Buffer;
  ttlMs: number;
  until: number;
  slot: number;
  listener: Listener | undefined;
}

export function attachmentOf({ connection, attempt, id, receivedAt }: Op): Attachment {
  return { connection, attempt, id, receivedAt };
}

export function listenerOf(op: Op): Listener | undefined {
  if ((op.flags & OpFlag.events) === 0) return undefined;
  if ((op.flags & OpFlag.forwarded) !== 0) return { connection: op.connection, id: op.origin };
  return { connection: op.origin, id: 0xffff_ffff };
}

/** What an acquire gets. */
export function claimOf(op: Op, key: Buffer, token: string, fencingToken: number, now: number): Claim {
  const ttlMs = op.ttlMs || 30_000;
  return {
    key,
    token,
    ttlMs,
    fencingToken,
    owner: Buffer.from(op.bytes.slice(op.ownerAt, op.ownerAt + op.ownerLength)),
    metadata: Buffer.from(op.bytes.slice(op.metadataAt, op.metadataAt + op.metadataLength)),
    until: now + ttlMs,
    slot: op.slot,
    listener: listenerOf(op),
  };
}

export function copyOf(op: Op): Op {
  return Object.assign(new Op(), op, { bytes: op.bytes.slice() });
}

export class Queues {
  waiters: Waiter[] = [];
  watchers: Watcher[] = [];

  of(key: string): Waiter[] {
    return this.waiters.filter((waiter) => waiter.key === key);
  }

  /** The wait or watch of this connection and attempt, which is gone then. */
  take(connection: number, attempt: number): Attachment | undefined {
    const isIt = (one: Attachment | undefined): boolean =>
      one?.connection === connection && one.attempt === attempt;
    const waiter = this.waiters.find(({ attachment }) => isIt(attachment));
    const found = waiter?.attachment ?? this.watchers.find(isIt);
    this.waiters = this.waiters.filter((other) => other !== waiter);
    this.watchers = this.watchers.filter((other) => other !== found);
    return found;
  }

  /** Nobody is at the connection any more. */
  forget(connection: number): void {
    this.watchers = this.watchers.filter((watcher) => watcher.connection !== connection);
    for (const waiter of this.waiters) {
      if (waiter.attachment?.connection === connection) waiter.attachment = undefined;
    }
  }

  /** Those of the slots lose their fronts; they keep their places. */
  detach(slots: ReadonlySet<number>): Attachment[] {
    const detached: Attachment[] = this.watchers.filter(({ slot }) => slots.has(slot));
    this.watchers = this.watchers.filter(({ slot }) => !slots.has(slot));
    for (const waiter of this.waiters) {
      if (!slots.has(waiter.slot) || waiter.attachment === undefined) continue;
      detached.push(waiter.attachment);
      waiter.attachment = undefined;
    }
    return detached;
  }
}

/**
 * Sessions at home, without slots; what there is at stubs is always there.
 * Puts the answer to `op` together; false: there is no such session.
 */
export function describeSession(op: Op, key: string, sessions: Map<string, number>, answer: Answer): boolean {
  if (op.kind === Kind.sessionOpen) sessions.set(key, op.ttlMs || 30_000);
  const isHome = op.kind >= Kind.sessionOpen && op.kind <= Kind.sessionActivate;
  if (isHome && !sessions.has(key)) return false;
  answer.status = op.kind === Kind.sessionOpen ? 201 : 200;
  answer.sections = Section.claim | Section.detail;
  answer.fencingToken = 0;
  answer.ttlMs = sessions.get(key) ?? 30_000;
  answer.waitedMs = 0;
  answer.expiresInMs = answer.ttlMs;
  answer.detailBytes = Uint8Array.of(0);
  answer.detailAt = 0;
  answer.detailLength = op.kind === Kind.sessionJoin ? 1 : 0;
  if (op.kind === Kind.sessionEnd) sessions.delete(key);
  return true;
}
