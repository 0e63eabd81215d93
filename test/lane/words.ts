/** Ops in words for a lane, and answers as they are heard. */
import { codeOfWire } from '../../src/errors.ts';
import { MODE_NAMES, type Op } from '../../src/op.ts';
import { type Answer, readPlace, Section } from '../../src/protocol/answer.ts';
import type { ByteSource } from '../../src/protocol/bytes.ts';
import { hashBytes } from '../../src/slots/hash.ts';
import { opOf, type OpWords } from '../lock/op-words.ts';

/** `name` must not be used with two slots. */
export type LaneOp = OpWords & { readonly slot: number };

export interface PlaceSaid {
  readonly owner: string;
  readonly fencingToken: number;
  readonly expiresInMs: number;
}

/** An answer of any kind. Fields of sections that it does not have are those of an answer before it. */
export interface Said {
  readonly id: number;
  readonly connection: number;
  readonly status: number;
  readonly code: string;
  readonly sections: readonly string[];
  readonly fencingToken: number;
  readonly expiresInMs: number;
  readonly ttlMs: number;
  readonly waitedMs: number;
  readonly queueLength: number;
  readonly retryAfterMs: number;
  readonly revision: number;
  readonly mode: string;
  readonly limit: number;
  readonly owner: string;
  readonly token: string;
  readonly session: string;
  readonly detail: string;
  readonly places: readonly PlaceSaid[];
  readonly at: number;
}

/** The op as it lies in a batch; what audits the store tells locks apart by its hash. */
export function opOfWords(words: LaneOp): Op {
  const op = opOf(words);
  op.slot = words.slot;
  // A listing names its shard there.
  op.hash = words.kind === 'list' ? 0 : hashBytes(op.bytes, op.keyAt, op.keyLength, { k0: 1, k1: 2 });
  return op;
}

/** What `answer`, just read from `source`, says. */
export function saidOf(source: ByteSource, answer: Answer, connection: number, at: number): Said {
  const { sections } = answer;
  const text = (bytes: Uint8Array, from: number, length: number): string =>
    Buffer.from(bytes.subarray(from, from + length)).toString('latin1');
  const names = Object.entries(Section).filter(([, bit]) => (sections & bit) !== 0);
  const said = {
    id: answer.id,
    connection,
    status: answer.status,
    code: answer.code === 0 ? '' : (codeOfWire(answer.code) ?? String(answer.code)),
    sections: names.map(([name]) => name),
    fencingToken: answer.fencingToken,
    expiresInMs: answer.expiresInMs,
    ttlMs: answer.ttlMs,
    waitedMs: answer.waitedMs,
    queueLength: answer.queueLength,
    retryAfterMs: answer.retryAfterMs,
    revision: answer.revision,
    mode: MODE_NAMES[answer.mode],
    limit: answer.limit,
    owner: text(answer.ownerBytes, answer.ownerAt, answer.ownerLength),
    token: sections & Section.token ? text(answer.tokenBytes, answer.tokenAt, answer.tokenLength) : '',
    session:
      sections & Section.labels ? text(answer.sessionBytes, answer.sessionAt, answer.sessionLength) : '',
    detail: sections & Section.detail ? text(answer.detailBytes, answer.detailAt, answer.detailLength) : '',
  };
  const places: PlaceSaid[] = [];
  const isState = (sections & Section.state) !== 0;
  for (let next = answer.placesAt, i = 0; isState && i < answer.holderCount; i++) {
    next = readPlace(source, next, source.length, answer);
    const owner = text(answer.ownerBytes, answer.ownerAt, answer.ownerLength);
    places.push({ owner, fencingToken: answer.fencingToken, expiresInMs: answer.expiresInMs });
  }
  return { ...said, places, at };
}
