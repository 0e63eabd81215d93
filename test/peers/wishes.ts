/** Forwards as tests wish for them: every kind of op, with all that it may carry. */
import fc from 'fast-check';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { NO_FORWARD } from '../../src/peers/frame.ts';

export const SLOTS = 4_096;

export interface Wish {
  term: string;
  id: number;
  waitedMs: number;
  kind: number;
  flags: number;
  slot: number;
  hash: number;
  ttlMs: number;
  fencingToken: number;
  key: Uint8Array;
  token: Uint8Array;
  owner: Uint8Array;
  metadata: Uint8Array;
  mode: number;
  limit: number;
  waitMs: number;
  lockDelayMs: number;
  origin: number;
  attempt: number;
  session: Uint8Array;
  principal: Uint8Array;
  batch: Uint8Array;
}

export const NOTHING = new Uint8Array(0);
export const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const token = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc.uint8Array({ minLength: 22, maxLength: 64 }),
);

const FLAGS = [OpFlag.full, OpFlag.keyed, OpFlag.resumed, OpFlag.events, OpFlag.newStub];
const PLAIN = {
  mode: 0,
  limit: 0,
  waitMs: 0,
  lockDelayMs: 0,
  origin: 0,
  attempt: 0,
  session: NOTHING,
  principal: NOTHING,
  batch: NOTHING,
};
const more = fc.record({
  mode: fc.integer({ min: 0, max: 2 }),
  limit: fc.integer({ min: 0, max: 10_000 }),
  waitMs: fc.integer({ min: 0, max: 300_000 }),
  lockDelayMs: fc.integer({ min: 0, max: 300_000 }),
  origin: u32,
  attempt: u32,
  session: fc.oneof(fc.constant(NOTHING), token),
  principal: fc.uint8Array({ maxLength: 64 }),
  batch: fc.oneof(fc.constant(NOTHING), fc.uint8Array({ minLength: 16, maxLength: 16 })),
});

export const wish: fc.Arbitrary<Wish> = fc
  .record({
    term: fc.constantFrom('00112233445566aa', 'ffeeddccbbaa9988', '0000000000000000'),
    id: fc.integer({ min: 0, max: NO_FORWARD - 1 }),
    waitedMs: fc.oneof(fc.integer({ min: 0, max: 60_000 }), u32),
    kind: fc.constantFrom(...Object.values(Kind)),
    flags: fc.subarray(FLAGS).map((flags) => flags.reduce((sum, flag) => sum | flag, 0)),
    slot: fc.integer({ min: 0, max: SLOTS - 1 }),
    hash: u32,
    ttlMs: fc.oneof(fc.constant(0), fc.integer({ min: 1_000, max: 86_400_000 })),
    fencingToken: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
    key: fc.uint8Array({ minLength: 1, maxLength: 512 + 65 }),
    token,
    owner: fc.uint8Array({ maxLength: 256 }),
    metadata: fc.uint8Array({ maxLength: 1_024 }),
  })
  .chain((plain) => fc.oneof(fc.constant(PLAIN), more).map((rest) => fitting({ ...plain, ...rest })));

/** Without the fields that its kind has not. */
export function fitting(given: Wish): Wish {
  const { kind, fencingToken } = given;
  const hasAll = kind > Kind.list && kind !== Kind.watch && kind !== Kind.force;
  const isList = kind === Kind.list;
  const hasToken =
    hasAll || [Kind.acquire, Kind.renew, Kind.release].some((one) => one === kind) || isVerifyByToken(given);
  const timed = kind === Kind.acquire || kind === Kind.renew || isList || hasAll;
  const made = (kind === Kind.acquire || kind === Kind.sessionOpen) && given.token.length === 16;
  return {
    ...given,
    flags: given.flags | (made ? OpFlag.madeToken : 0),
    ttlMs: timed ? given.ttlMs : 0,
    fencingToken: kind === Kind.verify || kind === Kind.force || isList || hasAll ? fencingToken : 0,
    token: hasToken ? given.token : NOTHING,
    owner: kind === Kind.acquire || isList || hasAll ? given.owner : NOTHING,
    metadata: timed || kind === Kind.force ? given.metadata : NOTHING,
  };
}

function isVerifyByToken({ kind, fencingToken }: Wish): boolean {
  return kind === Kind.verify && fencingToken === 0;
}

/** The op of a wish, its texts in an order of their own. */
export function opOf(given: Wish): Op {
  const op = new Op();
  const { id, kind, flags, slot, hash, ttlMs, fencingToken, key, token, owner, metadata } = given;
  const { mode, limit, waitMs, lockDelayMs, origin, attempt, session, principal, batch } = given;
  Object.assign(op, { id, kind, flags: flags | OpFlag.forwarded, slot, hash, ttlMs, fencingToken });
  Object.assign(op, { mode, limit, waitMs, lockDelayMs, origin, attempt });
  op.bytes = Buffer.concat([metadata, owner, token, key, batch, principal, session]);
  op.metadataLength = metadata.length;
  op.ownerAt = metadata.length;
  op.ownerLength = owner.length;
  op.tokenAt = op.ownerAt + owner.length;
  op.tokenLength = token.length;
  op.keyAt = op.tokenAt + token.length;
  op.keyLength = key.length;
  op.batchAt = op.keyAt + key.length;
  op.batchLength = batch.length;
  op.principalAt = op.batchAt + batch.length;
  op.principalLength = principal.length;
  op.sessionAt = op.principalAt + principal.length;
  op.sessionLength = session.length;
  return op;
}

/** All that an op says, as text. */
export function textOf(op: Op): string {
  const hex = (at: number, length: number): string =>
    Buffer.from(op.bytes.slice(at, at + length)).toString('hex');
  return [
    op.kind,
    op.flags & ~OpFlag.forwarded,
    op.id,
    op.slot,
    op.hash,
    op.ttlMs,
    op.fencingToken,
    hex(op.keyAt, op.keyLength),
    hex(op.tokenAt, op.tokenLength),
    hex(op.ownerAt, op.ownerLength),
    hex(op.metadataAt, op.metadataLength),
    op.mode,
    op.limit,
    op.waitMs,
    op.lockDelayMs,
    op.origin,
    op.attempt,
    hex(op.sessionAt, op.sessionLength),
    hex(op.principalAt, op.principalLength),
    hex(op.batchAt, op.batchLength),
  ].join(' ');
}

export const SIMPLE: Wish = {
  term: '00112233445566aa',
  id: 7,
  waitedMs: 0,
  kind: Kind.acquire,
  flags: 0,
  slot: 5,
  hash: 9,
  ttlMs: 30_000,
  fencingToken: 0,
  key: Buffer.from('order-1'),
  token: Buffer.from('t'.repeat(22)),
  owner: NOTHING,
  metadata: NOTHING,
  ...PLAIN,
};
