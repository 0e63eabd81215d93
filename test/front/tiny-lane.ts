/**
 * An honest small lane for tests of the front: a Map of exclusive locks that
 * speaks the records and answers of the real one. Its two shards are the lower
 * and the upper half of the slots; it has no journal and nothing expires.
 */
import { CODES, type ErrorCode } from '../../src/errors.ts';
import type { LaneGate } from '../../src/batch/collector.ts';
import { BatchBytes, readRecord } from '../../src/lane/record.ts';
import type { LaneAnswers } from '../../src/lane/messages.ts';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { Answer, AnswerBytes, Section, writeAnswer } from '../../src/protocol/answer.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { addToListPage, beginListPage, endListPage } from '../../src/protocol/page.ts';

interface Claim {
  key: Buffer;
  token: string;
  fencingToken: number;
  owner: Buffer;
  metadata: Buffer;
  ttlMs: number;
  until: number;
  slot: number;
}

export class TinyLane implements LaneGate {
  /** Takes answers, as a lane's port would. */
  onAnswers: (lane: number, message: LaneAnswers) => void = () => {};
  /** Batches are kept and not answered while this is set. */
  silent = false;
  /** Answers every op with this code instead. */
  failWith: ErrorCode | undefined;
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
  private readonly out = new AnswerBytes();

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

  private work(lane: number, batch: BatchBytes): void {
    const groups = new Map<number, Buffer[]>();
    for (let at = 0; at < batch.length;) {
      at = readRecord(batch, at, this.op);
      this.ops++;
      this.out.reset();
      this.decide();
      const group = groups.get(this.op.connection) ?? [];
      group.push(Buffer.from(this.out.bytes.slice(0, this.out.length)));
      groups.set(this.op.connection, group);
    }
    const parts: Buffer[] = [];
    for (const [connection, answers] of groups) {
      const head = Buffer.alloc(8);
      head.writeUInt32LE(connection, 0);
      head.writeUInt32LE(
        answers.reduce((sum, one) => sum + one.length, 0),
        4,
      );
      parts.push(head, ...answers);
    }
    const all = Buffer.concat(parts);
    const buffer = all.buffer.slice(all.byteOffset, all.byteOffset + all.length) as ArrayBuffer;
    this.onAnswers(lane, { kind: 'answers', buffer, length: all.length, spare: [] });
  }

  private decide(): void {
    const { op, answer } = this;
    const key = Buffer.from(op.bytes.slice(op.keyAt, op.keyAt + op.keyLength));
    const token = Buffer.from(op.bytes.slice(op.tokenAt, op.tokenAt + op.tokenLength)).toString('hex');
    answer.id = op.id;
    answer.sections = 0;
    answer.code = 0;
    answer.status = 200;
    if (this.failWith !== undefined) this.refuse(this.failWith);
    else if (op.kind === Kind.list) this.list(key);
    else this.one(key, token);
    writeAnswer(this.out, answer);
  }

  private one(key: Buffer, token: string): void {
    const { op } = this;
    const claim = this.claims.get(key.toString('hex'));
    switch (op.kind) {
      case Kind.acquire:
        if (claim === undefined) return this.grant(key, token);
        if (claim.token === token) return this.tell(claim, 200);
        return this.held(claim);
      case Kind.renew:
        if (claim?.token !== token) return this.refuse('not_held');
        if (op.ttlMs !== 0) claim.ttlMs = op.ttlMs;
        if (op.metadataLength !== 0) claim.metadata = this.text(op.metadataAt, op.metadataLength);
        claim.until = this.now() + claim.ttlMs;
        return this.tell(claim, 200);
      case Kind.release:
        if (claim?.token !== token) return this.refuse('not_held');
        this.claims.delete(key.toString('hex'));
        this.answer.status = 204;
        return;
      case Kind.get:
        this.answer.sections = Section.state;
        return this.state(claim);
      default: {
        const current =
          claim !== undefined && (claim.fencingToken === op.fencingToken || claim.token === token);
        this.answer.sections = Section.verdict;
        this.answer.current = current;
        this.answer.fencingToken = current ? claim.fencingToken : 0;
        this.answer.expiresInMs = current ? this.left(claim) : 0;
      }
    }
  }

  private grant(key: Buffer, token: string): void {
    const { op } = this;
    const ttlMs = op.ttlMs || 30_000;
    const claim: Claim = {
      key,
      token,
      ttlMs,
      fencingToken: ++this.counter,
      owner: this.text(op.ownerAt, op.ownerLength),
      metadata: this.text(op.metadataAt, op.metadataLength),
      until: this.now() + ttlMs,
      slot: op.slot,
    };
    this.claims.set(key.toString('hex'), claim);
    this.tell(claim, 201);
  }

  private tell(claim: Claim, status: number): void {
    const { op, answer } = this;
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

  private state(claim: Claim | undefined): void {
    const { answer } = this;
    answer.mode = 0;
    answer.limit = 0;
    answer.queueLength = 0;
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
    const { op, answer } = this;
    const owner = this.text(op.ownerAt, op.ownerLength);
    const after = this.text(op.metadataAt, op.metadataLength);
    const speaksFor = (slot: number): boolean =>
      Math.floor(slot / (this.slots / 2)) === op.hash || this.alsoCovers.has(slot);
    const all = [...this.claims.values()]
      .filter(({ slot }) => speaksFor(slot))
      .filter((claim) => claim.key.subarray(0, prefix.length).equals(prefix))
      .filter((claim) => !claim.key.includes(0, prefix.length))
      .filter((claim) => owner.length === 0 || claim.owner.equals(owner))
      .filter(
        (claim) =>
          claim.slot > op.fencingToken || (claim.slot === op.fencingToken && claim.key.compare(after) > 0),
      )
      .sort((a, b) => a.slot - b.slot || a.key.compare(b.key));
    const page = new GrowingBytes();
    beginListPage(page);
    const shown = all.slice(0, Math.min(op.ttlMs, this.pageMax));
    for (const claim of shown) {
      this.state(claim);
      addToListPage(page, claim.slot, claim.key, 0, claim.key.length, answer);
    }
    const next = shown.length < all.length ? shown[shown.length - 1].slot : this.slots;
    const covered = Array.from({ length: this.slots }, (_, slot) => slot).filter(
      (slot) => slot >= op.fencingToken && slot <= next && !this.uncovered.has(slot) && speaksFor(slot),
    );
    endListPage(page, next, covered, answer);
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
