/**
 * Reads journal entries by the grammar of docs/journal.md, on its own: what the
 * audit finds in a store must not depend on the codec that wrote it.
 *
 *   entry     := version:u8 effect*
 *   effect    := head:u8 slot:varint number:varint body
 *   granted, queued := [more:u8] hash:u32 ttlMs:varint keyLength:varint [tokenLength:u8] [ownerLength:varint]
 *                [metadataLength:varint] [limit:varint] [lockDelayMs:varint] [principalLength:varint]
 *                [stub:varint] [batch:varint] key token owner metadata principal
 *   opened    := hash:u32 ttlMs:varint keyLength:varint [ownerLength:varint] [principalLength:varint] key owner principal
 *   renewed   := meant ttlMs:varint [metadataLength:varint metadata]
 *   cleared   := meant [reasonLength:varint] [principalLength:varint] reason principal
 *   joined    := meant slot:varint
 *   ended, promoted, withdrawn, closed, confirmed := meant
 *   meant     := hash:u32 back:varint
 */
import { Buffer } from 'node:buffer';

interface Numbered {
  readonly slot: number;
  readonly number: number;
  readonly hash: number;
  /** Number of the claim, waiter or stub that is meant, or that is new. */
  readonly of: number;
}

/** A claim or a waiter. */
export interface JournalRow {
  readonly name: string;
  readonly token: string;
  readonly owner: string;
  readonly ttlMs: number;
  readonly mode: number;
  readonly limit: number;
  readonly lockDelayMs: number;
  /** Numbers of what it hangs on, 0 = nothing. */
  readonly stub: number;
  readonly batch: number;
}

export type JournalEffect = Numbered &
  (
    | (JournalRow & { readonly kind: 'granted' | 'queued' })
    | { readonly kind: 'renewed'; readonly ttlMs: number }
    | { readonly kind: 'ended'; readonly reason: number }
    | { readonly kind: 'withdrawn'; readonly reason: number }
    | { readonly kind: 'closed'; readonly reason: number }
    | { readonly kind: 'promoted' }
    | { readonly kind: 'confirmed' }
    | { readonly kind: 'cleared'; readonly onlyOne: boolean }
    | { readonly kind: 'opened'; readonly name: string; readonly ttlMs: number }
    | { readonly kind: 'joined'; readonly to: number; readonly active: boolean }
  );

const VERSION = 1;
const KINDS = [
  '',
  'granted',
  'renewed',
  'ended',
  'queued',
  'promoted',
  'withdrawn',
  'cleared',
  'opened',
  'closed',
  'confirmed',
  'joined',
] as const;
const FLAG = [0x10, 0x20, 0x40, 0x80] as const;

/** @throws Error when the bytes are not an entry */
export function readJournalEntry(entry: Uint8Array): JournalEffect[] {
  const reader = new EntryReader(Buffer.from(entry));
  const version = reader.u8();
  if (version !== VERSION) throw new Error(`entry of version ${version}`);
  const effects: JournalEffect[] = [];
  while (!reader.isOver) effects.push(reader.effect());
  return effects;
}

class EntryReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isOver(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#at++);
  }

  effect(): JournalEffect {
    const head = this.u8();
    const kind = KINDS[head & 0x0f];
    const slot = this.#varint();
    const number = this.#varint();
    switch (kind) {
      case 'granted':
      case 'queued':
        return { kind, slot, number, of: number, ...this.#row(head, number) };
      case 'opened':
        return { kind, slot, number, of: number, ...this.#stub(head) };
      case '':
      case undefined:
        throw new Error(`an effect of kind ${head & 0x0f}`);
    }
    const hash = this.#hash();
    const meant = { slot, number, hash, of: number - this.#varint() };
    switch (kind) {
      case 'renewed': {
        const ttlMs = this.#varint();
        if (head & FLAG[2]) this.#take(this.#varint());
        return { kind, ...meant, ttlMs };
      }
      case 'ended':
      case 'withdrawn':
      case 'closed':
        return { kind, ...meant, reason: head >>> 4 };
      case 'cleared': {
        const reasonLength = head & FLAG[1] ? this.#varint() : 0;
        this.#take(reasonLength + (head & FLAG[2] ? this.#varint() : 0));
        return { kind, ...meant, onlyOne: (head & FLAG[0]) !== 0 };
      }
      case 'joined':
        return { kind, ...meant, to: this.#varint(), active: (head & FLAG[0]) !== 0 };
      default:
        return { kind, ...meant };
    }
  }

  #row(head: number, number: number): JournalRow & { hash: number } {
    const more = head & FLAG[3] ? this.u8() : 0;
    const hash = this.#hash();
    const ttlMs = this.#varint();
    const keyLength = this.#varint();
    const tokenLength = head & FLAG[0] ? 16 : this.u8();
    const ownerLength = head & FLAG[1] ? this.#varint() : 0;
    const metadataLength = head & FLAG[2] ? this.#varint() : 0;
    const mode = more & 3;
    const limit = mode === 2 ? this.#varint() : 0;
    const lockDelayMs = more & 0x08 ? this.#varint() : 0;
    const principalLength = more & 0x10 ? this.#varint() : 0;
    const stub = more & 0x20 ? number - this.#varint() : 0;
    const batch = more & 0x40 ? number - this.#varint() : 0;
    const name = this.#take(keyLength).toString();
    const token = this.#take(tokenLength).toString('hex');
    const owner = this.#take(ownerLength).toString();
    this.#take(metadataLength + principalLength);
    return { hash, name, token, owner, ttlMs, mode, limit, lockDelayMs, stub, batch };
  }

  #stub(head: number): { hash: number; name: string; ttlMs: number } {
    const hash = this.#hash();
    const ttlMs = this.#varint();
    const keyLength = this.#varint();
    const ownerLength = head & FLAG[1] ? this.#varint() : 0;
    const principalLength = head & FLAG[2] ? this.#varint() : 0;
    const name = this.#take(keyLength).toString('latin1');
    this.#take(ownerLength + principalLength);
    return { hash, name, ttlMs };
  }

  #hash(): number {
    return this.#take(4).readUInt32LE();
  }

  #varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError(`the entry ends at ${this.#bytes.length}, not ${end}`);
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}
