/** Effects of every kind: made at random, written, and told in words. */
import fc from 'fast-check';
import { type Effect, EffectKind, type EffectWriter, readEffects } from '../../src/lock/effects.ts';
import { SessionSlot } from '../../src/lock/outcome.ts';
import { type EndReason, RowKind, type WithdrawReason } from '../../src/lock/rows.ts';
import { Slot } from '../../src/lock/slot.ts';
import { addRow, openStub } from '../../src/lock/transitions.ts';
import { Op } from '../../src/op.ts';
import { opOf, type OpWords } from './op-words.ts';

export type Seen = Record<string, unknown> & { readonly fencingToken: number; readonly number: number };

/** All that an effect tells, in words. */
function copyOf(effect: Effect): Seen {
  const { kind, slot, number, hash, fencingToken } = effect;
  const seen = { kind, slot, number, hash, fencingToken };
  const text = (at: number, length: number) =>
    Buffer.from(effect.bytes.slice(at, at + length)).toString('latin1');
  const { ttlMs, mode, limit, lockDelayMs, keyed, stub, batch, reason, cleared } = effect;
  const metadata = text(effect.metadataAt, effect.metadataLength);
  const principal = text(effect.principalAt, effect.principalLength);
  const key = text(effect.keyAt, effect.keyLength);
  const owner = text(effect.ownerAt, effect.ownerLength);
  switch (kind) {
    case EffectKind.granted:
    case EffectKind.queued: {
      const token = text(effect.tokenAt, effect.tokenLength);
      const texts = { key, token, owner, metadata, principal };
      return { ...seen, ttlMs, mode, limit, lockDelayMs, keyed, stub, batch, ...texts };
    }
    case EffectKind.opened:
      return { ...seen, ttlMs, key, owner, principal };
    case EffectKind.renewed:
      return { ...seen, ttlMs, metadata };
    case EffectKind.cleared:
      return { ...seen, cleared, metadata, principal };
    case EffectKind.joined:
      return { ...seen, of: effect.joinedSlot, state: effect.joinedState };
    default:
      return { ...seen, reason };
  }
}

export function readAll(bytes: Uint8Array, at = 0, end = bytes.length): Seen[] {
  const seen: Seen[] = [];
  readEffects(bytes, at, end, (effect) => seen.push(copyOf(effect)));
  return seen;
}

const latin = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const number = fc.oneof(
  fc.integer({ min: 10, max: 300 }),
  fc.maxSafeInteger().map((n) => Math.max(10, Math.abs(n))),
);
export const claim = fc.record({
  number,
  back: fc.nat(),
  slot: fc.nat(0xffff),
  hash: fc.nat(0xffff_ffff),
  ttlMs: fc.integer({ min: 1, max: 0xffff_ffff }),
  key: latin(1, 1_024),
  token: latin(1, 64),
  owner: latin(0, 256),
  metadata: latin(0, 1_024),
  principal: latin(0, 64),
  mode: fc.constantFrom(0, 1, 2),
  limit: fc.integer({ min: 1, max: 10_000 }),
  lockDelayMs: fc.constantFrom(0, 1, 300_000),
  keyed: fc.boolean(),
  onStub: fc.boolean(),
  inBatch: fc.boolean(),
  kind: fc.constantFrom(...Object.values(EffectKind)),
  reason: fc.integer({ min: 1, max: 4 }),
  joined: fc.nat(0xffff),
  active: fc.constantFrom(SessionSlot.pending, SessionSlot.active),
});
type Made = typeof claim extends fc.Arbitrary<infer T> ? T : never;

const NOWHERE = {
  ownerAt: 0,
  ownerLength: 0,
  tokenAt: 0,
  tokenLength: 0,
  metadataAt: 0,
  metadataLength: 0,
  principalAt: 0,
  principalLength: 0,
  limit: 0,
};

function sourceOf(made: Made) {
  const { key, token, owner, metadata, principal, mode, hash, lockDelayMs } = made;
  const bytes = Buffer.from(key + token + owner + metadata + principal, 'latin1');
  const tokenAt = key.length;
  const ownerAt = tokenAt + token.length;
  const metadataAt = ownerAt + owner.length;
  const places = { keyAt: 0, tokenAt, ownerAt, metadataAt, principalAt: metadataAt + metadata.length };
  const lengths = {
    keyLength: key.length,
    tokenLength: token.length,
    ownerLength: owner.length,
    metadataLength: metadata.length,
    principalLength: principal.length,
  };
  return { bytes, hash, ...places, ...lengths, mode, lockDelayMs, limit: mode === 2 ? made.limit : 0 };
}

/** Writes one effect about a row that is made for it. Returns what a reader should see. */
export function write(writer: EffectWriter, made: Made): Seen {
  const { kind, hash, ttlMs, key, token, owner, metadata, principal, mode, lockDelayMs, keyed } = made;
  const slot = new Slot(made.slot, 1);
  const isClaim = kind === EffectKind.granted || kind === EffectKind.queued;
  const stub = made.onStub ? stubOf(slot, `\x02s`, 1) : 0;
  const batch = made.inBatch ? stubOf(slot, `\x03b`, 2) : 0;
  const fencingToken =
    isClaim || kind === EffectKind.opened ? made.number : Math.max(3, made.number - 1 - made.back);
  const row = addRow(
    slot,
    sourceOf(made),
    { kind: RowKind.claim, number: fencingToken, ttlMs },
    { keyed, stub, batch },
  );
  slot.counter = made.number;
  const seen = { kind, slot: made.slot, number: made.number, hash, fencingToken };
  const op = new Op();
  Object.assign(op, sourceOf({ ...made, metadata: metadata.slice(0, 256) }));
  switch (kind) {
    case EffectKind.granted:
    case EffectKind.queued: {
      writer[kind === EffectKind.granted ? 'granted' : 'queued'](slot, row);
      const limit = mode === 2 ? made.limit : 0;
      const hangs = { stub: made.onStub ? 1 : 0, batch: made.inBatch ? 2 : 0 };
      const texts = { key, token, owner, metadata, principal };
      return { ...seen, ttlMs, mode, limit, lockDelayMs, keyed, ...hangs, ...texts };
    }
    case EffectKind.renewed:
      writer.renewed(slot, row, metadata !== '');
      return { ...seen, ttlMs, metadata };
    case EffectKind.cleared: {
      writer.cleared(slot, row, made.keyed, op);
      const reason = metadata.slice(0, 256);
      const cleared = (keyed ? 0x10 : 0) | (reason === '' ? 0 : 0x20) | (principal === '' ? 0 : 0x40);
      return { ...seen, cleared, metadata: reason, principal };
    }
    case EffectKind.joined:
      writer.joined(slot, row, made.joined, made.active);
      return { ...seen, of: made.joined, state: made.active };
    case EffectKind.opened: {
      const other = new Slot(made.slot, 1);
      other.counter = made.number;
      const from = sourceOf({ ...made, key: `team\0\x01${key.slice(0, 64)}`, token: '', metadata: '' });
      writer.opened(other, openStub(other, from, RowKind.session, made.number, ttlMs));
      return { ...seen, ttlMs, key: `team\0\x01${key.slice(0, 64)}`, owner, principal };
    }
    default:
      return writeEnd(writer, slot, row, made, seen);
  }
}

function writeEnd(writer: EffectWriter, slot: Slot, row: number, made: Made, seen: Seen): Seen {
  const closed = Math.min(2, made.reason);
  switch (made.kind) {
    case EffectKind.ended:
      writer.ended(slot, row, made.reason as EndReason);
      return { ...seen, reason: made.reason };
    case EffectKind.withdrawn:
      writer.withdrawn(slot, row, made.reason as WithdrawReason);
      return { ...seen, reason: made.reason };
    case EffectKind.closed:
      writer.closed(slot, row, closed as EndReason);
      return { ...seen, reason: closed };
    case EffectKind.promoted:
      writer.promoted(slot, row);
      return { ...seen, reason: 0 };
    default:
      writer.confirmed(slot, row);
      return { ...seen, reason: 0 };
  }
}

function stubOf(slot: Slot, key: string, number: number): number {
  const from = { ...NOWHERE, bytes: Buffer.from(key), hash: number, keyAt: 0, keyLength: key.length };
  return openStub(slot, from, number === 1 ? RowKind.stub : RowKind.batch, number, 1_000);
}

/** A slot with one plain claim. */
export function claimed(words: Omit<OpWords, 'kind'>, number: number, slotNumber = 18, hash?: number) {
  const slot = new Slot(slotNumber, 1);
  const op = opOf({ kind: 'acquire', ...words });
  if (hash !== undefined) op.hash = hash;
  slot.counter = number;
  return { slot, row: slot.claims.insert(op, number, words.ttlMs ?? 1_000) };
}
