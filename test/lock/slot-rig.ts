/**
 * Drives one slot with ops in words, the way a lane does: rounds that return in
 * order, claims that are armed then, timers on the claims, entries that are kept.
 */
import { codeOfWire } from '../../src/errors.ts';
import { ttlPadMs } from '../../src/limits.ts';
import { EFFECT_BYTES_MAX, EffectWriter } from '../../src/lock/effects.ts';
import { apply, expire, Outcome } from '../../src/lock/machine.ts';
import { Slot } from '../../src/lock/slot.ts';
import { Kind, Op } from '../../src/op.ts';

export const SLOT = 7;
export const ENDED_KEEP_MS = 16_000;
const HEADROOM = 32;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface OpWords {
  readonly kind: 'acquire' | 'renew' | 'release' | 'get' | 'verify';
  readonly name: string;
  /** Any text; a `uuid:` prefix makes it 16 bytes. */
  readonly token?: string;
  readonly ttlMs?: number;
  readonly owner?: string;
  readonly metadata?: string;
  readonly fencingToken?: number;
}

/** What apply said, in words. */
export interface Said {
  readonly status: number;
  readonly code: string;
  readonly fencingToken: number;
  readonly ttlMs: number;
  readonly armable: boolean;
  readonly current: boolean;
  readonly changed: boolean;
}

export interface ClaimWords {
  readonly fencingToken: number;
  readonly token: string;
  readonly ttlMs: number;
  readonly owner: string;
  readonly metadata: string;
  readonly promisedUntil: number;
  readonly freeAt: number;
}

interface Grant {
  readonly row: number;
  readonly fencingToken: number;
  readonly ttlMs: number;
}

/** Few values on purpose: names share hashes, as they may. */
export function hashOf(name: string): number {
  let hash = 0xf0000000;
  for (const char of name) hash = (hash + char.charCodeAt(0)) >>> 0;
  return hash;
}

export function tokenBytes(token: string): Uint8Array {
  if (!token.startsWith('uuid:')) return encoder.encode(token.padEnd(22, '~'));
  const bytes = new Uint8Array(16);
  bytes.set(encoder.encode(token.slice(5)).subarray(0, 16));
  return bytes;
}

/** An op as it would lie in a batch, behind other bytes. */
export function opOf(words: OpWords): Op {
  const key = encoder.encode(words.name);
  const token = words.token === undefined ? new Uint8Array(0) : tokenBytes(words.token);
  const owner = encoder.encode(words.owner ?? '');
  const metadata = encoder.encode(words.metadata ?? '');
  const op = new Op();
  op.kind = Kind[words.kind];
  op.slot = SLOT;
  op.hash = hashOf(words.name);
  op.keyAt = 5;
  op.keyLength = key.length;
  op.tokenAt = op.keyAt + key.length;
  op.tokenLength = token.length;
  op.ownerAt = op.tokenAt + token.length;
  op.ownerLength = owner.length;
  op.metadataAt = op.ownerAt + owner.length;
  op.metadataLength = metadata.length;
  op.bytes = new Uint8Array(op.metadataAt + metadata.length);
  op.bytes.set(key, op.keyAt);
  op.bytes.set(token, op.tokenAt);
  op.bytes.set(owner, op.ownerAt);
  op.bytes.set(metadata, op.metadataAt);
  op.ttlMs = words.ttlMs ?? 0;
  op.fencingToken = words.fencingToken ?? 0;
  return op;
}

export class SlotRig {
  readonly slot: Slot;
  now: number;
  /** All entries so far, the open one left out. */
  readonly entries: Uint8Array[] = [];
  readonly effects = new EffectWriter(HEADROOM + 4 * EFFECT_BYTES_MAX, HEADROOM);
  private open: Grant[] = [];
  private flight: Grant[] | undefined;
  private sentAt = 0;

  constructor(now = 1_000, slot = new Slot(SLOT, ENDED_KEEP_MS)) {
    this.now = now;
    this.slot = slot;
  }

  run(words: OpWords): Said {
    if (this.effects.room() < EFFECT_BYTES_MAX) this.seal();
    const out = new Outcome();
    apply(this.slot, opOf(words), this.now, this.effects, out);
    if (out.armable) this.open.push({ row: out.row, fencingToken: out.fencingToken, ttlMs: out.ttlMs });
    const { status, fencingToken, ttlMs, armable, current, changed } = out;
    return { status, code: codeOfWire(out.code) ?? '', fencingToken, ttlMs, armable, current, changed };
  }

  /** The open round sets out, unless another is under way. */
  send(): void {
    if (this.flight !== undefined) return;
    this.flight = this.open;
    this.open = [];
    this.sentAt = this.now;
    this.seal();
  }

  /** The round under way has returned: its claims are armed. */
  land(): void {
    for (const { row, fencingToken, ttlMs } of this.flight ?? []) {
      const freeAt = this.now + ttlMs + ttlPadMs(ttlMs);
      this.slot.claims.arm(row, fencingToken, this.sentAt + ttlMs, freeAt);
    }
    this.flight = undefined;
  }

  /** A round trip that takes no time. */
  trip(): void {
    this.land();
    this.send();
    this.land();
  }

  /** The timers of all rows fire, due or not. */
  expireAll(): void {
    for (const row of [...this.slot.claims.rows()]) {
      if (this.effects.room() < EFFECT_BYTES_MAX) this.seal();
      expire(this.slot, row, this.now, this.effects);
    }
  }

  seal(): void {
    this.entries.push(this.effects.bytes.slice(HEADROOM, this.effects.at));
    this.effects.reset();
  }

  remembers(name: string, token: string): boolean {
    const bytes = tokenBytes(token);
    return this.slot.ended.has(hashOf(name), bytes, 0, bytes.length, this.now);
  }
}

/** All claims of a slot by name, with every field. */
export function claimsOf(slot: Slot): Map<string, ClaimWords> {
  const { claims } = slot;
  const found = new Map<string, ClaimWords>();
  const slice = (at: number, length: number): Uint8Array => claims.bytes.slice(at, at + length);
  for (const row of claims.rows()) {
    found.set(decoder.decode(slice(claims.keyAt(row), claims.keyLength(row))), {
      fencingToken: claims.fencingToken(row),
      token: Buffer.from(slice(claims.tokenAt(row), claims.tokenLength(row))).toString('latin1'),
      ttlMs: claims.ttlMs(row),
      owner: decoder.decode(slice(claims.ownerAt(row), claims.ownerLength(row))),
      metadata: decoder.decode(slice(claims.metadataAt(row), claims.metadataLength(row))),
      promisedUntil: claims.promisedUntil(row),
      freeAt: claims.freeAt(row),
    });
  }
  if (found.size !== claims.count) throw new Error(`${found.size} rows were walked, ${claims.count} counted`);
  return found;
}

/** Everything that a checkpoint or the journal carries, in an order of its own: equal states give equal text. */
export function durableState(slot: Slot): unknown {
  const claims = [...claimsOf(slot)]
    .map(([name, { promisedUntil: _promised, freeAt: _free, ...rest }]) => ({ name, ...rest }))
    .sort((a, b) => a.fencingToken - b.fencingToken);
  const ended: string[] = [];
  slot.ended.each((low, high) => ended.push(`${high}:${low}`));
  return { counter: slot.counter, claims, ended };
}
