/**
 * An honest small lane for tests of the front: a Map of exclusive locks that
 * speaks the records and answers of the real one, with queues, watches, and
 * sessions in name only. Its two shards are the lower and the upper half of the
 * slots; it has no journal, and nothing expires unless a test says so.
 */
import { CODES, type ErrorCode } from '../../src/errors.ts';
import type { LaneGate } from '../../src/batch/collector.ts';
import { BatchBytes, readRecord } from '../../src/lane/record.ts';
import type { LaneAnswers } from '../../src/lane/messages.ts';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { Answer, Event, Section } from '../../src/protocol/answer.ts';
import { listClaims } from './tiny-list.ts';
import { TinyOutbox } from './tiny-outbox.ts';
import {
  type Attachment,
  attachmentOf,
  type Claim,
  claimOf,
  copyOf,
  describeSession,
  type Listener,
  listenerOf,
  Queues,
  type Watcher,
} from './tiny-standing.ts';

export class TinyLane implements LaneGate {
  /** Takes answers, as a lane's port would. */
  onAnswers: (lane: number, message: LaneAnswers) => void = () => {};
  /** Batches are kept and not answered while this is set. */
  silent = false;
  /** Answers every op with this code instead. */
  failWith: ErrorCode | undefined;
  /** Sees every op. */
  onOp: (op: Op) => void = () => {};
  /** Most entries that a page of a listing has. */
  pageMax = 1_000;
  /** By lane: what the front had heard when it sealed the last batch. */
  readonly seen: number[] = [];
  /** Slots that pages of a listing don't speak for. */
  readonly uncovered = new Set<number>();
  /** Slots that they speak for beside their shard's. */
  readonly alsoCovers = new Set<number>();
  batches = 0;
  ops = 0;
  readonly claims = new Map<string, Claim>();
  private readonly slots: number;
  private readonly now: () => number;
  private readonly kept: [number, BatchBytes][] = [];
  private counter = 0;
  private readonly op = new Op();
  private readonly answer = new Answer();
  private readonly outbox = new TinyOutbox();
  readonly queues = new Queues();
  readonly sessions = new Map<string, number>();
  private readonly changed = new Set<string>();

  constructor(slots: number, now: () => number) {
    this.slots = slots;
    this.now = now;
  }

  send(lane: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void): void {
    taken();
    this.seen[lane] = seen;
    if (length === 0) return;
    this.batches++;
    const batch = new BatchBytes(structuredClone(buffer, { transfer: [buffer] }), length);
    if (this.silent) this.kept.push([lane, batch]);
    else setImmediate(() => this.work(lane, batch));
  }

  /** Answers what was kept while it was silent. */
  speak(): void {
    this.silent = false;
    for (const [lane, batch] of this.kept.splice(0)) this.work(lane, batch);
  }

  /** Who waits over the connection keeps its place. */
  gone(connection: number): void {
    this.queues.forget(connection);
  }

  /** It serves the slots no longer: who waits or watches there is told so. */
  lose(lane: number, slots: Uint16Array): void {
    for (const attachment of this.queues.detach(new Set(slots))) this.refuseTo(attachment, 'moving');
    this.leave(lane);
  }

  /** The claim of the lock ends by its time, if it is held. */
  expire(name: string): void {
    const key = Buffer.from(name).toString('hex');
    const claim = this.claims.get(key);
    if (claim !== undefined) this.end(claim, Event.expired);
    this.leave(0);
  }

  /** The first who waits for the lock waits no longer. */
  timeOut(name: string): void {
    const [first] = this.queues.of(Buffer.from(name).toString('hex'));
    const { attachment } = first;
    this.queues.waiters = this.queues.waiters.filter((waiter) => waiter !== first);
    if (attachment !== undefined) this.refuseTo(attachment, 'wait_timeout');
    this.leave(0);
  }

  private work(lane: number, batch: BatchBytes): void {
    for (let at = 0; at < batch.length;) {
      at = readRecord(batch, at, this.op);
      this.ops++;
      this.onOp(this.op);
      this.decide();
    }
    this.leave(lane);
  }

  /** Watchers hear what has changed, and all answers leave. */
  private leave(lane: number): void {
    for (const key of this.changed) {
      for (const watcher of this.queues.watchers) if (watcher.key === key) this.show(watcher);
    }
    this.changed.clear();
    const message = this.outbox.take();
    if (message !== undefined) this.onAnswers(lane, message);
  }

  /** What was put into `answer` goes to the connection. */
  private say(connection: number): void {
    this.outbox.add(connection, this.answer);
  }

  private decide(): void {
    const { op, answer } = this;
    const { connection, id } = op;
    const key = Buffer.from(op.bytes.slice(op.keyAt, op.keyAt + op.keyLength));
    const token = Buffer.from(op.bytes.slice(op.tokenAt, op.tokenAt + op.tokenLength)).toString('hex');
    this.begin(id, 200);
    if (this.failWith !== undefined) this.refuse(this.failWith);
    else if (op.kind === Kind.list) this.list(key);
    else if (!this.one(key, token)) return;
    answer.id = id;
    this.say(connection);
  }

  private begin(id: number, status: number): void {
    this.answer.id = id;
    this.answer.sections = 0;
    this.answer.code = 0;
    this.answer.status = status;
  }

  private refuseTo({ connection, id }: Attachment, code: ErrorCode): void {
    this.begin(id, 0);
    this.refuse(code);
    this.say(connection);
  }

  /** False: it was answered already, or will be. */
  private one(key: Buffer, token: string): boolean {
    const { op, answer } = this;
    const claim = this.claims.get(key.toString('hex'));
    switch (op.kind) {
      case Kind.acquire:
        return this.acquire(key, token, claim);
      case Kind.renew:
        if (claim?.token !== token) this.refuse('not_held');
        else this.renew(claim);
        return true;
      case Kind.release: {
        const before = answer.id;
        if (claim?.token !== token) this.refuse('not_held');
        else this.end(claim, 0);
        if (claim?.token === token) this.begin(before, 204);
        return true;
      }
      case Kind.get:
        answer.sections = Section.state;
        this.state(key.toString('hex'));
        return true;
      case Kind.watch: {
        const watcher = { ...attachmentOf(op), key: key.toString('hex'), slot: op.slot };
        this.queues.watchers.push(watcher);
        this.show(watcher);
        return false;
      }
      case Kind.cancel:
        this.cancel();
        return true;
      case Kind.force:
        this.force(claim);
        return true;
      case Kind.verify:
        this.verify(claim, token);
        return true;
      default:
        if (!describeSession(op, key.toString('hex'), this.sessions, answer)) this.refuse('session_ended');
        return true;
    }
  }

  private acquire(key: Buffer, token: string, claim: Claim | undefined): boolean {
    const { op, answer, queues } = this;
    const hex = key.toString('hex');
    if (claim === undefined) this.grant(key, token, op);
    else if (claim.token === token) this.tell(claim, 200, op);
    else if (op.waitMs === 0) this.held(claim);
    else {
      const known = queues.of(hex).find((waiter) => waiter.token === token);
      const { attachment } = known ?? {};
      if (attachment !== undefined) this.refuseTo(attachment, 'cancelled');
      if (known !== undefined) known.attachment = attachmentOf(op);
      else {
        queues.waiters.push({ key: hex, token, op: copyOf(op), slot: op.slot, attachment: attachmentOf(op) });
        this.changed.add(hex);
        if (claim.listener !== undefined) this.event(claim, claim.listener, Event.contended);
      }
      this.begin(op.id, Event.queued);
      answer.sections = Section.queue;
      answer.queueLength = queues.of(hex).findIndex((waiter) => waiter.token === token) + 1;
      answer.retryAfterMs = 0;
    }
    return true;
  }

  private renew(claim: Claim): void {
    const { op } = this;
    if (op.ttlMs !== 0) claim.ttlMs = op.ttlMs;
    if (op.metadataLength !== 0) claim.metadata = this.text(op.metadataAt, op.metadataLength);
    claim.until = this.now() + claim.ttlMs;
    claim.listener = listenerOf(op);
    this.tell(claim, 200, op);
  }

  private cancel(): void {
    const { op, queues } = this;
    const { id } = op;
    const attachment = queues.take(op.connection, op.attempt);
    if (attachment !== undefined) this.refuseTo(attachment, 'cancelled');
    this.begin(id, 200);
    if (attachment === undefined) this.refuse('not_held');
  }

  private force(claim: Claim | undefined): void {
    const { op, answer } = this;
    const { id, fencingToken } = op;
    const isGone = claim === undefined || (fencingToken !== 0 && claim.fencingToken !== fencingToken);
    if (isGone && fencingToken !== 0) return this.refuse('not_held');
    if (!isGone) this.end(claim, Event.forced);
    this.begin(id, 200);
    answer.sections = Section.queue;
    answer.queueLength = isGone ? 0 : 1;
    answer.retryAfterMs = 0;
  }

  private verify(claim: Claim | undefined, token: string): void {
    const { op, answer } = this;
    const current = claim !== undefined && (claim.fencingToken === op.fencingToken || claim.token === token);
    answer.sections = Section.verdict;
    answer.current = current;
    answer.fencingToken = current ? claim.fencingToken : 0;
    answer.expiresInMs = current ? this.left(claim) : 0;
  }

  /** The claim is over; whoever is first in the queue holds the lock then. `event` 0: it was released. */
  private end(claim: Claim, event: number): void {
    const key = claim.key.toString('hex');
    this.claims.delete(key);
    this.changed.add(key);
    this.counter++;
    if (event !== 0 && claim.listener !== undefined) this.event(claim, claim.listener, event);
    const [next] = this.queues.of(key);
    if (next?.attachment === undefined) return;
    this.queues.waiters = this.queues.waiters.filter((waiter) => waiter !== next);
    const { op, token, attachment } = next;
    this.begin(attachment.id, 201);
    this.grant(claim.key, token, Object.assign(op, { receivedAt: attachment.receivedAt }));
    this.say(attachment.connection);
  }

  private event(claim: Claim, listener: Listener, status: number): void {
    const { answer } = this;
    this.begin(listener.id, status);
    answer.sections = status === Event.contended ? Section.detail : Section.detail | Section.token;
    answer.detailBytes = claim.key;
    answer.detailAt = 0;
    answer.detailLength = claim.key.length;
    answer.tokenBytes = Buffer.from(claim.token, 'hex');
    answer.tokenAt = 0;
    answer.tokenLength = answer.tokenBytes.length;
    this.say(listener.connection);
  }

  private show(watcher: Watcher): void {
    this.begin(watcher.id, Event.changed);
    this.answer.sections = Section.state;
    this.state(watcher.key);
    this.say(watcher.connection);
  }

  private grant(key: Buffer, token: string, op: Op): void {
    const claim = claimOf(op, key, token, ++this.counter, this.now());
    this.claims.set(key.toString('hex'), claim);
    this.changed.add(key.toString('hex'));
    this.tell(claim, 201, op);
  }

  private tell(claim: Claim, status: number, op: Op): void {
    const { answer } = this;
    answer.status = status;
    answer.sections = Section.claim;
    answer.fencingToken = claim.fencingToken;
    answer.ttlMs = claim.ttlMs;
    answer.waitedMs = Math.floor(this.now() - op.receivedAt);
    answer.expiresInMs = this.left(claim);
    if (op.flags & OpFlag.madeToken) {
      answer.sections |= Section.token;
      answer.tokenBytes = op.bytes;
      answer.tokenAt = op.tokenAt;
      answer.tokenLength = op.tokenLength;
    }
    if (op.flags & OpFlag.full) {
      answer.sections |= Section.labels;
      answer.mode = 0;
      answer.limit = 0;
      this.ownerOf(claim);
      answer.sessionLength = 0;
    }
  }

  private held(claim: Claim): void {
    const { answer } = this;
    this.refuse('lock_held');
    answer.sections = Section.holder | Section.queue;
    answer.fencingToken = claim.fencingToken;
    answer.expiresInMs = this.left(claim);
    answer.mode = 0;
    this.ownerOf(claim);
  }

  private state(key: string): void {
    const { answer } = this;
    const claim = this.claims.get(key);
    answer.mode = 0;
    answer.limit = 0;
    answer.queueLength = this.queues.of(key).length;
    answer.revision = this.counter;
    answer.holderCount = 0;
    answer.ownerLength = 0;
    answer.metadataLength = 0;
    if (claim === undefined) return;
    answer.holderCount = 1;
    answer.fencingToken = claim.fencingToken;
    answer.expiresInMs = this.left(claim);
    this.ownerOf(claim);
    answer.metadataBytes = claim.metadata;
    answer.metadataAt = 0;
    answer.metadataLength = claim.metadata.length;
  }

  private list(prefix: Buffer): void {
    const { op, slots, pageMax, uncovered } = this;
    const speaksFor = (slot: number): boolean =>
      Math.floor(slot / (slots / 2)) === op.hash || this.alsoCovers.has(slot);
    listClaims(op, prefix, this.answer, {
      claims: [...this.claims.values()].filter(({ slot }) => speaksFor(slot)),
      slots: Array.from({ length: slots }, (_, slot) => slot).filter(
        (slot) => !uncovered.has(slot) && speaksFor(slot),
      ),
      end: slots,
      pageMax,
      show: (key) => this.state(key),
    });
  }

  private refuse(code: ErrorCode): void {
    const { answer } = this;
    const facts = CODES[code];
    answer.status = facts.status;
    answer.code = facts.wire;
    answer.queueLength = 0;
    answer.retryAfterMs = 250;
    answer.sections = facts.retryable && code !== 'outcome_unknown' ? Section.queue : 0;
  }

  private ownerOf(claim: Claim): void {
    this.answer.ownerBytes = claim.owner;
    this.answer.ownerAt = 0;
    this.answer.ownerLength = claim.owner.length;
  }

  private left(claim: Claim): number {
    return Math.max(0, Math.floor(claim.until - this.now()));
  }

  private text(at: number, length: number): Buffer {
    return Buffer.from(this.op.bytes.slice(at, at + length));
  }
}
