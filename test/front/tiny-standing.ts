/**
 * What a TinyLane keeps beside its claims: who waits for them, who watches,
 * and sessions that have no more than a name.
 */
import { Op, OpFlag } from '../../src/op.ts';

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
