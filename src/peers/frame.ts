/**
 * The frames between two processes, once they know each other (handshake.ts).
 * A process opens a link of its own to each peer; forwards go one way on it,
 * answers the other.
 *
 *   to the owner                                                         little-endian
 *     frame   := seenRefusals:u32 sentAt:f64 wanted? group*    no groups: also a ping
 *     wanted  := ff:8 size:u32 slot:u16*               all slots that requests of the sender wait for, rising
 *     group   := term:8 size:u32 forward*              the term's 16 hex digits; bytes of its forwards
 *     forward                                          as in forward.ts
 *
 *   back
 *     frame   := answer*                               as in protocol/answer.ts, ids of forwards
 *       status 102–105: events, whose id is the origin of the claim
 *       code not_owner: the only section is `detail`, the whole forward
 *       id 2^32 - 1:    the answer to a ping; page := now:f64, on the owner's clock
 *
 * - `waitedMs`: since the request was received, up to `sentAt`, rounded down.
 * - `sentAt`: on the owner's clock, a time that had come for certain when the
 *   first forward was put into the frame. So arrival − sentAt is never less
 *   than the frame's age, and a forward that its sender has given up can be told.
 * - `seenRefusals`: how many answers `not_owner` of this socket the sender knew
 *   of then. What it put in before it knew of one could overtake the refused op.
 * - `wanted`: replaces what the sender said before on this socket, nothing at
 *   first. Its head is that of a group whose term has all bits set: terms are
 *   64 random bits, and none is ever this one.
 * - A slot is u16 and below the cluster's number of slots.
 */
import { CODES } from '../errors.ts';
import type { Op } from '../op.ts';
import { Answer, ANSWER_HEAD_BYTES, Section, writeAnswer } from '../protocol/answer.ts';
import { type ByteSource, GrowingBytes } from '../protocol/bytes.ts';
import { readForward, writeForward } from './forward.ts';

/** The id of an answer to a frame, not to a forward in it. */
export const NO_FORWARD = 0xffff_ffff;

/** Beyond this a frame leaves before the turn ends. */
export const FRAME_SEAL_BYTES = 256 * 1024;

const FRAME_HEAD_BYTES = 12;
const GROUP_HEAD_BYTES = 12;
/** Either half of the term that no lane has. */
const WANTED_HALF = 0xffff_ffff;
const PONG_BYTES = ANSWER_HEAD_BYTES + 12;

interface Group {
  term: string;
  readonly forwards: GrowingBytes;
}

/** The frame that is being filled. Its memory is used again for the next one. */
export class FrameWriter {
  /** Bytes of all forwards in it. */
  length = 0;
  private readonly groups: Group[] = [];
  private used = 0;
  private current: Group | undefined;
  private readonly out = new GrowingBytes();

  add(term: string, op: Op, id: number, waitedMs: number): void {
    let group = this.current;
    if (group === undefined || group.term !== term) group = this.groupOf(term);
    const before = group.forwards.length;
    writeForward(group.forwards, op, id, waitedMs);
    this.length += group.forwards.length - before;
  }

  /**
   * The whole frame, valid until the next one is sealed; then begins a new one.
   * `wanted`: in rising order; left out when there is nothing new to say of it.
   */
  seal(seenRefusals: number, sentAt: number, wanted?: Uint16Array): Uint8Array {
    const { out } = this;
    const wantedBytes = wanted === undefined ? 0 : GROUP_HEAD_BYTES + 2 * wanted.length;
    out.reset();
    out.ensure(FRAME_HEAD_BYTES + wantedBytes + this.length + this.used * GROUP_HEAD_BYTES);
    out.view.setUint32(0, seenRefusals, true);
    out.view.setFloat64(4, sentAt, true);
    if (wanted !== undefined) writeWanted(out.view, FRAME_HEAD_BYTES, wanted);
    let at = FRAME_HEAD_BYTES + wantedBytes;
    for (let i = 0; i < this.used; i++) {
      const { term, forwards } = this.groups[i];
      out.view.setUint32(at, Number.parseInt(term.slice(0, 8), 16));
      out.view.setUint32(at + 4, Number.parseInt(term.slice(8), 16));
      out.view.setUint32(at + 8, forwards.length, true);
      out.bytes.set(forwards.bytes.subarray(0, forwards.length), at + GROUP_HEAD_BYTES);
      at += GROUP_HEAD_BYTES + forwards.length;
    }
    this.clear();
    return out.bytes.subarray(0, at);
  }

  /** Takes the forwards out again, in the order in which they were put in for each term. */
  takeBack(op: Op, give: (op: Op) => void): void {
    const { groups, used } = this;
    for (let i = 0; i < used; i++) {
      const { bytes, view, length } = groups[i].forwards;
      for (let at = 0; at >= 0 && at < length;) {
        at = readForward(bytes, view, at, length, op);
        give(op);
      }
    }
    this.clear();
  }

  private clear(): void {
    for (let i = 0; i < this.used; i++) this.groups[i].forwards.reset();
    this.used = 0;
    this.length = 0;
    this.current = undefined;
  }

  /** As many groups as the peer has terms: too few to be worth a map. */
  private groupOf(term: string): Group {
    const { groups } = this;
    let i = 0;
    while (i < this.used && groups[i].term !== term) i++;
    if (i === groups.length) groups.push({ term, forwards: new GrowingBytes() });
    if (i === this.used) {
      groups[i].term = term;
      this.used++;
    }
    this.current = groups[i];
    return groups[i];
  }
}

function writeWanted(view: DataView, at: number, slots: Uint16Array): void {
  view.setUint32(at, WANTED_HALF);
  view.setUint32(at + 4, WANTED_HALF);
  view.setUint32(at + 8, 2 * slots.length, true);
  for (let i = 0; i < slots.length; i++) view.setUint16(at + GROUP_HEAD_BYTES + 2 * i, slots[i], true);
}

/** More terms than a peer has at a time; then they are forgotten. */
const TERM_TEXTS_MAX = 256;

/** A frame to the owner being read: a cursor over its forwards. */
export class FrameReader {
  seenRefusals = 0;
  sentAt = 0;
  /** Forwards in it. */
  count = 0;
  /** The slots that requests of the sender wait for; undefined: as before. */
  wanted: Uint16Array | undefined;
  /** Of the forward that `next` moved to. */
  term = '';
  private readonly slots: number;
  private bytes = new Uint8Array(0);
  private view = new DataView(new ArrayBuffer(0));
  private at = 0;
  private groupEnd = 0;
  /** The text of a term, by its two halves: a string is made for each only once. */
  private readonly terms = new Map<number, Map<number, string>>();

  constructor(slots: number) {
    this.slots = slots;
  }

  /** Checks all of the frame with `op` as its cursor; false: it is malformed. Then stands before its first forward. */
  begin(bytes: Uint8Array<ArrayBuffer>, view: DataView<ArrayBuffer>, op: Op): boolean {
    this.bytes = bytes;
    this.view = view;
    if (bytes.length < FRAME_HEAD_BYTES) return false;
    this.seenRefusals = view.getUint32(0, true);
    this.sentAt = view.getFloat64(4, true);
    this.count = 0;
    const groups = this.readWanted();
    if (groups < 0) return false;
    for (let at = groups; at < bytes.length;) {
      const first = at + GROUP_HEAD_BYTES;
      if (first > bytes.length) return false;
      const end = first + view.getUint32(at + 8, true);
      if (end === first || end > bytes.length || this.isWanted(at)) return false;
      for (at = first; at < end; this.count++) {
        at = readForward(bytes, view, at, end, op);
        if (at < 0 || op.slot >= this.slots) return false;
      }
    }
    this.at = groups;
    this.groupEnd = groups;
    return !Number.isNaN(this.sentAt);
  }

  /** Moves `op` over the next forward (`receivedAt`: how long it had waited); false when there is none. */
  next(op: Op): boolean {
    if (this.at === this.bytes.length) return false;
    if (this.at === this.groupEnd) {
      this.term = this.termText(this.view.getUint32(this.at), this.view.getUint32(this.at + 4));
      this.groupEnd = this.at + GROUP_HEAD_BYTES + this.view.getUint32(this.at + 8, true);
      this.at += GROUP_HEAD_BYTES;
    }
    this.at = readForward(this.bytes, this.view, this.at, this.groupEnd, op);
    return true;
  }

  /** Takes `wanted` if the frame has it; returns where the groups begin, -1 if it is malformed. */
  private readWanted(): number {
    const { view, bytes } = this;
    this.wanted = undefined;
    const first = FRAME_HEAD_BYTES + GROUP_HEAD_BYTES;
    if (first > bytes.length || !this.isWanted(FRAME_HEAD_BYTES)) return FRAME_HEAD_BYTES;
    const size = view.getUint32(first - 4, true);
    if (size % 2 !== 0 || first + size > bytes.length) return -1;
    const wanted = new Uint16Array(size / 2);
    for (let i = 0, least = 0; i < wanted.length; i++) {
      wanted[i] = view.getUint16(first + 2 * i, true);
      if (wanted[i] < least || wanted[i] >= this.slots) return -1;
      least = wanted[i] + 1;
    }
    this.wanted = wanted;
    return first + size;
  }

  private isWanted(at: number): boolean {
    return this.view.getUint32(at) === WANTED_HALF && this.view.getUint32(at + 4) === WANTED_HALF;
  }

  private termText(high: number, low: number): string {
    let byLow = this.terms.get(high);
    if (byLow === undefined) {
      if (this.terms.size === TERM_TEXTS_MAX) this.terms.clear();
      byLow = new Map();
      this.terms.set(high, byLow);
    }
    let text = byLow.get(low);
    if (text === undefined) {
      if (byLow.size === TERM_TEXTS_MAX) byLow.clear();
      text = high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
      byLow.set(low, text);
    }
    return text;
  }
}

const answer = new Answer();
const forward = new GrowingBytes();
const pong = new GrowingBytes();

/** Appends the answer `not_owner` to a forward: the sender keeps no copy, so it gets all of it back. */
export function writeNotOwner(out: GrowingBytes, op: Op): void {
  forward.reset();
  writeForward(forward, op, op.id, 0);
  answer.id = op.id;
  answer.status = CODES.not_owner.status;
  answer.code = CODES.not_owner.wire;
  answer.sections = Section.detail;
  answer.detailBytes = forward.bytes;
  answer.detailAt = 0;
  answer.detailLength = forward.length;
  writeAnswer(out, answer);
}

/** Moves `op` over the forward that the answer `not_owner` in source[at, end) echoes; false if it does not. */
export function readNotOwner(source: ByteSource, at: number, end: number, op: Op): boolean {
  const { bytes, view } = source;
  const from = at + ANSWER_HEAD_BYTES + 2;
  if (from > end || view.getUint8(at + 11) !== Section.detail) return false;
  if (from + view.getUint16(from - 2, true) !== end) return false;
  return readForward(bytes, view, from, end, op) === end && op.id === view.getUint32(at + 4, true);
}

/** Appends the answer to a ping. */
export function writePong(out: GrowingBytes, now: number): void {
  pong.view.setFloat64(0, now, true);
  answer.id = NO_FORWARD;
  answer.status = 200;
  answer.code = 0;
  answer.sections = Section.detail;
  answer.detailBytes = pong.bytes;
  answer.detailAt = 0;
  answer.detailLength = 8;
  writeAnswer(out, answer);
}

/** The owner's clock in the answer to a ping at source[at, end); NaN if it is none. */
export function readPong({ view }: ByteSource, at: number, end: number): number {
  const isPong =
    end - at === PONG_BYTES &&
    view.getUint32(at + 4, true) === NO_FORWARD &&
    view.getUint8(at + 10) === 0 &&
    view.getUint8(at + 11) === Section.detail &&
    view.getUint32(at + ANSWER_HEAD_BYTES, true) === 8;
  return isPong ? view.getFloat64(at + ANSWER_HEAD_BYTES + 4, true) : NaN;
}

/** How many answers the frame holds; -1: their sizes do not add up to its length, or it is empty. */
export function countAnswers({ view, length }: ByteSource): number {
  let count = 0;
  let at = 0;
  while (at + ANSWER_HEAD_BYTES <= length) {
    const size = view.getUint32(at, true);
    if (size < ANSWER_HEAD_BYTES) return -1;
    at += size;
    count++;
  }
  return at === length && count > 0 ? count : -1;
}
