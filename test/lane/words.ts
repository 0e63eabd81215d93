/** Ops of every kind in words, and answers as they are heard: what tests of the lane write and read. */
import { codeOfWire } from '../../src/errors.ts';
import { BATCH_KEY, Kind, Mode, Op, OpFlag, SESSION_KEY, STUB_KEY } from '../../src/op.ts';
import { type Answer, readPlace, Section } from '../../src/protocol/answer.ts';
import type { ByteSource } from '../../src/protocol/bytes.ts';
import { hashBytes } from '../../src/slots/hash.ts';
import { tokenBytes } from '../lock/slot-rig.ts';

export interface LaneOp {
  readonly kind: keyof typeof Kind;
  readonly slot: number;
  /** Must not be used with two slots. */
  readonly name: string;
  /** Any text; a `uuid:` prefix makes it 16 bytes. */
  readonly token?: string;
  readonly ttlMs?: number;
  readonly owner?: string;
  readonly metadata?: string;
  readonly fencingToken?: number;
  readonly mode?: keyof typeof Mode;
  readonly limit?: number;
  readonly waitMs?: number;
  readonly lockDelayMs?: number;
  readonly connection?: number;
  readonly origin?: number;
  readonly attempt?: number;
  readonly session?: string;
  readonly principal?: string;
  readonly batch?: string;
  readonly flags?: readonly (keyof typeof OpFlag)[];
}

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
  readonly detail: string;
  readonly places: readonly PlaceSaid[];
  readonly at: number;
}

const encoder = new TextEncoder();

/** The op as it lies in a batch; what audits the store tells locks apart by its hash. */
export function opOfWords(words: LaneOp): Op {
  const op = new Op();
  const texts: Uint8Array[] = [];
  let at = 0;
  const place = (bytes: Uint8Array): number => {
    texts.push(bytes);
    at += bytes.length;
    return at - bytes.length;
  };
  const put = (
    field: 'key' | 'token' | 'owner' | 'metadata' | 'session' | 'principal' | 'batch',
    bytes: Uint8Array,
  ): void => {
    op[`${field}At`] = place(bytes);
    op[`${field}Length`] = bytes.length;
  };
  put('key', keyBytes(words));
  put('token', words.token === undefined ? new Uint8Array(0) : tokenBytes(words.token));
  put('owner', encoder.encode(words.owner ?? ''));
  put('metadata', encoder.encode(words.metadata ?? ''));
  put('session', words.session === undefined ? new Uint8Array(0) : tokenBytes(words.session));
  put('principal', encoder.encode(words.principal ?? ''));
  put('batch', words.batch === undefined ? new Uint8Array(0) : tokenBytes(words.batch));
  op.bytes = Buffer.concat(texts);
  // A listing names its shard there.
  op.hash = words.kind === 'list' ? 0 : hashBytes(op.bytes, op.keyAt, op.keyLength, { k0: 1, k1: 2 });
  op.kind = Kind[words.kind];
  op.slot = words.slot;
  op.mode = Mode[words.mode ?? 'exclusive'];
  for (const flag of words.flags ?? []) op.flags |= OpFlag[flag];
  const {
    ttlMs = 0,
    fencingToken = 0,
    limit = 0,
    waitMs = 0,
    lockDelayMs = 0,
    origin = 0,
    attempt = 0,
  } = words;
  return Object.assign(op, { ttlMs, fencingToken, limit, waitMs, lockDelayMs, origin, attempt });
}

/** Names `session:x`, `stub:x` and `batch:x` stand for the keys of such. */
function keyBytes({ name }: LaneOp): Uint8Array {
  const [kind, id] = name.split(/:(.*)/);
  const mark = { session: SESSION_KEY, stub: STUB_KEY, batch: BATCH_KEY }[kind];
  if (mark === undefined || id === undefined) return encoder.encode(name);
  return Buffer.concat([Buffer.of(mark), tokenBytes(id)]);
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
    mode: Object.keys(Mode)[answer.mode],
    limit: answer.limit,
    owner: text(answer.ownerBytes, answer.ownerAt, answer.ownerLength),
    token: sections & Section.token ? text(answer.tokenBytes, answer.tokenAt, answer.tokenLength) : '',
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
