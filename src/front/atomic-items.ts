/**
 * What an atomic batch is made of: its acquires, by slot and by owner, the
 * sessions they are for, and the ops about them.
 */
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../lane/record.ts';
import { BATCH_KEY, type Op, OpFlag } from '../op.ts';
import { makeToken } from '../protocol/token.ts';
import { clearOp, principalOf, SessionName } from './session-name.ts';

const BATCH_ID_BYTES = 16;

/** The acquires of one slot. */
export interface BatchPart {
  readonly slot: number;
  readonly owner: string;
  readonly items: AtomicItem[];
  /** Acquires were sent. */
  isSent: boolean;
  /** Claims that are pending by this batch. */
  taken: number;
  /** When the first confirm was sent. */
  confirmedFrom: number;
  /**
   * unconfirmed: no confirm was carried out; toCheck: whether one was is for a
   * verify to tell; doubtful: nobody could tell; failed: claims are gone.
   */
  state: 'pending' | 'confirmed' | 'unconfirmed' | 'toCheck' | 'doubtful' | 'failed';
}

/** A session with acquires in one slot. */
export interface Membership {
  readonly name: SessionName;
  readonly slot: number;
  /** Index of its first acquire. */
  readonly first: number;
  /** Its home did not count on the slot yet. */
  isNew: boolean;
  ttlMs: number;
  until: number;
}

export interface AtomicItem {
  readonly index: number;
  readonly slot: number;
  readonly part: BatchPart;
  readonly membership: Membership | undefined;
  /** With room for the batch's id behind it. */
  readonly record: BatchBytes;
  readonly namespaceLength: number;
  /** The claim's, once it is taken. */
  answer: Uint8Array | undefined;
  /** This batch took it; false: its token held the lock before. */
  isNew: boolean;
  ttlMs: number;
  until: number;
  checkedFrom: number;
}

export class BatchItems {
  readonly items: AtomicItem[] = [];
  readonly parts: BatchPart[] = [];
  readonly memberships: Membership[] = [];
  /** All records. */
  bytes = 0;
  receivedAt = 0;
  private readonly bySlot = new Map<number, BatchPart>();
  private readonly byMember = new Map<string, Membership>();
  private readonly id = new Uint8Array(BATCH_ID_BYTES);
  /** Key of the batch's stubs, then the principal. */
  private stub: Buffer = Buffer.alloc(0);
  private stubKeyLength = 0;
  private namespaceLength = 0;

  add(op: Op, slot: number, owner: string): void {
    const index = this.items.length;
    if (index === 0) this.beginWith(op);
    const size = recordBytes(op);
    this.bytes += size;
    const record = new BatchBytes(new ArrayBuffer(size + BATCH_ID_BYTES));
    writeRecord(record, op);
    record.bytes.set(this.id, size);
    const part = this.partOf(slot, owner);
    const membership = op.sessionLength > 0 ? this.memberOf(op, slot, index) : undefined;
    const item: AtomicItem = {
      index,
      slot,
      part,
      membership,
      record,
      namespaceLength: op.namespaceLength,
      answer: undefined,
      isNew: false,
      ttlMs: 0,
      until: 0,
      checkedFrom: 0,
    };
    this.items.push(item);
    part.items.push(item);
  }

  /** The parts of each owner together, in the order in which all processes take them. */
  groups(): BatchPart[][] {
    const groups = new Map<string, BatchPart[]>();
    const inOrder = this.parts.toSorted((a, b) => compare(a.owner, b.owner) || a.slot - b.slot);
    for (const part of inOrder) {
      const group = groups.get(part.owner);
      if (group === undefined) groups.set(part.owner, [part]);
      else group.push(part);
    }
    return [...groups.values()];
  }

  /** Makes `op` the item's acquire. */
  acquire(op: Op, { record, membership, namespaceLength }: AtomicItem): void {
    readRecord(record, 0, op);
    op.namespaceLength = namespaceLength;
    op.batchAt = record.length;
    op.batchLength = BATCH_ID_BYTES;
    op.flags &= ~OpFlag.newStub;
    if (membership === undefined) return;
    if (membership.isNew) op.flags |= OpFlag.newStub;
    op.ttlMs = membership.ttlMs;
  }

  /** Makes `op` one about the item's claim: by its token. */
  ofClaim(op: Op, kind: number, { record, namespaceLength }: AtomicItem): void {
    readRecord(record, 0, op);
    const { bytes, keyAt, keyLength, tokenAt, tokenLength, principalAt, principalLength } = op;
    clearOp(op, kind, this.receivedAt);
    op.bytes = bytes;
    op.keyAt = keyAt;
    op.keyLength = keyLength;
    op.namespaceLength = namespaceLength;
    op.tokenAt = tokenAt;
    op.tokenLength = tokenLength;
    op.principalAt = principalAt;
    op.principalLength = principalLength;
  }

  /** Makes `op` one about the batch's stub in some slot. */
  ofStub(op: Op, kind: number, receivedAt: number): void {
    clearOp(op, kind, receivedAt);
    op.bytes = this.stub;
    op.keyAt = 0;
    op.keyLength = this.stubKeyLength;
    op.namespaceLength = this.namespaceLength;
    op.principalAt = this.stubKeyLength;
    op.principalLength = this.stub.length - this.stubKeyLength;
  }

  private beginWith(op: Op): void {
    const { bytes, keyAt, namespaceLength } = op;
    makeToken(this.id, 0);
    this.receivedAt = op.receivedAt;
    this.namespaceLength = namespaceLength;
    const prefix = bytes.subarray(keyAt, keyAt + namespaceLength);
    this.stub = Buffer.concat([prefix, Uint8Array.of(BATCH_KEY), this.id, principalOf(op)]);
    this.stubKeyLength = namespaceLength + 1 + BATCH_ID_BYTES;
  }

  private partOf(slot: number, owner: string): BatchPart {
    let part = this.bySlot.get(slot);
    if (part === undefined) {
      part = { slot, owner, items: [], isSent: false, taken: 0, confirmedFrom: 0, state: 'pending' };
      this.bySlot.set(slot, part);
      this.parts.push(part);
    }
    return part;
  }

  private memberOf(op: Op, slot: number, index: number): Membership {
    const name = SessionName.ofClaim(op);
    const text = `${slot} ${name.text}`;
    let membership = this.byMember.get(text);
    if (membership === undefined) {
      membership = { name, slot, first: index, isNew: false, ttlMs: 0, until: 0 };
      this.byMember.set(text, membership);
      this.memberships.push(membership);
    }
    return membership;
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
