/**
 * A process's front as the simulation needs it: it turns requests into records,
 * routes them to the lanes by what those announced, keeps ops without an owner
 * until one is announced or their time is up, and hands each answer back.
 *
 * It also sees to rule 11: each op that a lane got is answered exactly once and
 * in time, unless the lane died.
 */
import { Buffer } from 'node:buffer';
import { CODES, codeOfWire, type ErrorCode } from '../../src/errors.ts';
import type { LaneMessage } from '../../src/lane/messages.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../../src/lane/record.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind, Op } from '../../src/op.ts';
import { Answer, readAnswer, Section } from '../../src/protocol/answer.ts';
import { hashBytes, slotHash, slotOf, type HashKey } from '../../src/slots/hash.ts';
import type { OpName } from './history.ts';

/** An op as a client sends it. */
export interface Request {
  readonly op: OpName;
  readonly name: string;
  readonly token: string;
  readonly owner: string;
  readonly fencingToken: number;
  /** 0: the default. */
  readonly ttlMs: number;
  readonly flags: number;
  /** JSON text, '' for none. */
  readonly metadata: string;
}

/** What a client reads in an answer. */
export interface Reply {
  readonly status: number;
  readonly code: ErrorCode | '';
  readonly fencingToken: number;
  readonly waitedMs: number;
  readonly expiresInMs: number;
  readonly yes: boolean;
  readonly holder: { readonly owner: string; readonly fencingToken: number } | undefined;
}

/** What the front needs of the process around it. */
export interface FrontHost {
  readonly name: string;
  readonly requestTimeoutMs: number;
  now(): number;
  /** Runs in the process's main thread, `delayMs` from now. */
  after(delayMs: number, run: () => void): void;
  /** Hands a sealed batch to a lane's thread. */
  submit(lane: number, buffer: ArrayBuffer, length: number): void;
  /** The earliest moment from which a late answer can be held against the lane: after pauses. */
  undisturbedSince(): number;
  complain(text: string): void;
}

interface Pending {
  readonly record: Uint8Array;
  readonly slot: number;
  readonly receivedAt: number;
  readonly text: string;
  readonly reply: (reply: Reply) => void;
  /** The lane it went to; -1: parked. */
  lane: number;
}

const KINDS: Readonly<Record<OpName, number>> = {
  acquire: Kind.acquire,
  renew: Kind.renew,
  release: Kind.release,
  get: Kind.get,
  verify: Kind.verify,
};
/**
 * How much later than the request time-out an answer may be, in ms: a lane gives
 * up a round trip only once it has stalled, and looks only every tick.
 */
const SLACK_MS = LIMITS.stallMs + 150;

export class Front {
  readonly #host: FrontHost;
  readonly #hashKey: HashKey;
  readonly #slots: number;
  readonly #pending = new Map<number, Pending>();
  readonly #owners = new Map<number, { lane: number; term: string }>();
  readonly #open = new Map<number, number[]>();
  readonly #answer = new Answer();
  readonly #op = new Op();
  #lastId = 0;
  draining = false;

  constructor(host: FrontHost, hashKey: HashKey, slots: number) {
    this.#host = host;
    this.#hashKey = hashKey;
    this.#slots = slots;
  }

  ownsSlotOf(name: string): boolean {
    return this.#owners.has(this.#slotOf(Buffer.from(name)).slot);
  }

  get ownedSlots(): number {
    return this.#owners.size;
  }

  /** Ops that lanes have and owe an answer for. */
  get openAtLanes(): readonly string[] {
    return [...this.#pending.values()]
      .filter(({ lane }) => lane !== -1)
      .map(({ lane, text }) => `lane ${lane}: ${text}`);
  }

  /** The requests of one frame; each reply comes on its own. */
  receive(requests: readonly Request[], reply: (index: number, reply: Reply) => void): void {
    for (const [index, request] of requests.entries()) {
      const answered = (told: Reply) => reply(index, told);
      if (this.draining) answered(refusal('draining'));
      else this.#take(request, answered);
    }
  }

  /** What a lane says. */
  hear(lane: number, message: LaneMessage): void {
    switch (message.kind) {
      case 'answers':
        return this.#answers(lane, message.buffer, message.length);
      case 'owned':
        for (const slot of message.slots) this.#owners.set(slot, { lane, term: message.term });
        return this.#route();
      case 'lost':
        for (const slot of message.slots) {
          if (this.#owners.get(slot)?.term === message.term) this.#owners.delete(slot);
        }
        return;
      case 'bounced':
        return this.#bounced(lane, message.buffer, message.length);
      case 'log':
        if (message.level !== 'error') return;
        return this.#host.complain(`log: ${message.message} ${JSON.stringify(message.fields)}`);
      case 'shard':
        return;
    }
  }

  /** Complains about answers that are overdue. Parked ops are the front's own: they get `moving`. */
  sweep(): void {
    const now = this.#host.now();
    const { requestTimeoutMs } = this.#host;
    for (const [id, pending] of this.#pending) {
      if (pending.lane === -1) {
        if (now - pending.receivedAt < requestTimeoutMs) continue;
        this.#pending.delete(id);
        pending.reply(refusal('moving'));
      } else if (
        now - Math.max(pending.receivedAt, this.#host.undisturbedSince()) >
        requestTimeoutMs + SLACK_MS
      ) {
        this.#pending.delete(id);
        this.#host.complain(`no answer from lane ${pending.lane} in time: ${pending.text}`);
      }
    }
  }

  #slotOf(key: Uint8Array): { hash: number; slot: number } {
    const hash = hashBytes(key, 0, key.length, this.#hashKey);
    return { hash, slot: slotOf(slotHash(key, 0, key.length, 0, hash, this.#hashKey), this.#slots) };
  }

  #take(request: Request, reply: (reply: Reply) => void): void {
    const key = Buffer.from(request.name);
    const token = tokenBytes(request.token);
    const owner = Buffer.from(request.owner);
    const op = this.#op;
    const metadata = Buffer.from(request.metadata);
    op.bytes = Buffer.concat([key, token, owner, metadata]);
    op.kind = KINDS[request.op];
    op.flags = request.flags;
    op.id = ++this.#lastId;
    // Several connections, so that answers have to be grouped.
    op.connection = op.id % 5;
    op.receivedAt = this.#host.now();
    ({ hash: op.hash, slot: op.slot } = this.#slotOf(key));
    op.keyAt = 0;
    op.keyLength = key.length;
    op.tokenAt = key.length;
    op.tokenLength = token.length;
    op.ownerAt = key.length + token.length;
    op.ownerLength = owner.length;
    op.metadataAt = op.ownerAt + owner.length;
    op.metadataLength = metadata.length;
    op.ttlMs = request.ttlMs;
    op.fencingToken = request.fencingToken;
    const batch = new BatchBytes(new ArrayBuffer(recordBytes(op)));
    writeRecord(batch, op);
    const text = `${request.op} ${request.name} ${request.token}`;
    this.#pending.set(op.id, {
      record: batch.bytes,
      slot: op.slot,
      receivedAt: op.receivedAt,
      text,
      reply,
      lane: -1,
    });
    this.#routeOne(op.id);
  }

  /** All parked ops, in the order of their arrival. */
  #route(): void {
    for (const [id, { lane }] of this.#pending) if (lane === -1) this.#routeOne(id);
  }

  #routeOne(id: number): void {
    const pending = this.#pending.get(id)!;
    const owner = this.#owners.get(pending.slot);
    if (owner === undefined) return;
    pending.lane = owner.lane;
    const open = this.#open.get(owner.lane);
    if (open !== undefined) {
      open.push(id);
      return;
    }
    this.#open.set(owner.lane, [id]);
    this.#host.after(0, () => this.#seal(owner.lane));
  }

  #seal(lane: number): void {
    const ids = this.#open.get(lane)!;
    this.#open.delete(lane);
    const records = ids.flatMap((id) => this.#pending.get(id)?.record ?? []);
    const length = records.reduce((sum, record) => sum + record.length, 0);
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const record of records) {
      bytes.set(record, at);
      at += record.length;
    }
    this.#host.submit(lane, bytes.buffer, length);
  }

  #bounced(lane: number, buffer: ArrayBuffer, length: number): void {
    const batch = new BatchBytes(buffer, length);
    const ids: number[] = [];
    for (let at = 0; at < length;) {
      at = readRecord(batch, at, this.#op);
      ids.push(this.#op.id);
    }
    for (const id of ids) {
      const pending = this.#pending.get(id);
      if (pending === undefined || pending.lane !== lane) {
        this.#host.complain(`lane ${lane} bounced op ${id}, which it had answered`);
        continue;
      }
      pending.lane = -1;
      // The announcement may be on its way: not at once, or the two would play ball.
      this.#host.after(
        1,
        () => this.#pending.has(id) && this.#pending.get(id)!.lane === -1 && this.#routeOne(id),
      );
    }
  }

  #answers(lane: number, buffer: ArrayBuffer, length: number): void {
    const bytes = { bytes: new Uint8Array(buffer), view: new DataView(buffer), length };
    for (let at = 0; at < length;) {
      const connection = bytes.view.getUint32(at, true);
      const end = at + 8 + bytes.view.getUint32(at + 4, true);
      at += 8;
      while (at < end) {
        at = readAnswer(bytes, at, this.#answer);
        this.#answered(lane, connection);
      }
    }
  }

  #answered(lane: number, connection: number): void {
    const answer = this.#answer;
    const pending = this.#pending.get(answer.id);
    if (pending === undefined || pending.lane !== lane || connection !== answer.id % 5) {
      this.#host.complain(
        `lane ${lane} answered op ${answer.id} of connection ${connection}, which is not open there`,
      );
      return;
    }
    this.#pending.delete(answer.id);
    const late = this.#host.now() - Math.max(pending.receivedAt, this.#host.undisturbedSince());
    if (late > this.#host.requestTimeoutMs + SLACK_MS) {
      this.#host.complain(`lane ${lane} answered after ${late.toFixed(0)} ms: ${pending.text}`);
    }
    pending.reply(replyOf(answer));
  }
}

function replyOf(answer: Answer): Reply {
  const { sections } = answer;
  const told = sections & (Section.holder | Section.state);
  const held =
    (sections & Section.holder) !== 0 || ((sections & Section.state) !== 0 && answer.holderCount > 0);
  const owner = Buffer.from(
    answer.ownerBytes.subarray(answer.ownerAt, answer.ownerAt + answer.ownerLength),
  ).toString();
  const timed = (sections & (Section.claim | Section.verdict)) !== 0;
  const code = answer.code === 0 ? '' : (codeOfWire(answer.code) ?? 'internal');
  return {
    status: answer.status,
    code,
    fencingToken: timed ? answer.fencingToken : 0,
    waitedMs: answer.waitedMs,
    expiresInMs: answer.expiresInMs,
    yes: (sections & Section.verdict) !== 0 ? answer.current : held,
    holder: told !== 0 && held ? { owner, fencingToken: answer.fencingToken } : undefined,
  };
}

export function refusal(code: ErrorCode): Reply {
  const { status } = CODES[code];
  return { status, code, fencingToken: 0, waitedMs: 0, expiresInMs: 0, yes: false, holder: undefined };
}

/** A UUID travels as its 16 bytes, any other token as its characters. */
function tokenBytes(token: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(token)) return Buffer.from(token);
  return Buffer.from(token.replaceAll('-', ''), 'hex');
}

/** The bytes that stand for `token` in records and journals, as hex. */
export function tokenHex(token: string): string {
  return Buffer.from(tokenBytes(token)).toString('hex');
}

/** How often fronts look for requests whose time is up. */
export const FRONT_SWEEP_MS = Math.min(20, LIMITS.laneTickMs);
