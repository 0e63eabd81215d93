/**
 * Reads journal entries by the grammar of docs/journal.md, on its own: what the
 * audit finds in a store must not depend on the codec that wrote it.
 *
 *   entry   := version:u8 effect*
 *   effect  := head:u8 slot:varint number:varint body
 *   granted := hash:u32 ttlMs:varint keyLength:varint [tokenLength:u8] [ownerLength:varint] [metadataLength:varint] key token owner metadata
 *   renewed := hash:u32 back:varint ttlMs:varint [metadataLength:varint metadata]
 *   ended   := hash:u32 back:varint
 */
import { Buffer } from 'node:buffer';

interface Numbered {
  readonly slot: number;
  readonly number: number;
  readonly hash: number;
  /** Of the claim that is meant. */
  readonly fencingToken: number;
}

export type JournalEffect = Numbered &
  (
    | {
        readonly kind: 'granted';
        readonly name: string;
        readonly token: string;
        readonly owner: string;
        readonly ttlMs: number;
      }
    | { readonly kind: 'renewed'; readonly ttlMs: number }
    | { readonly kind: 'ended'; readonly reason: number }
  );

const VERSION = 1;
const GRANTED = 1;
const RENEWED = 2;
const ENDED = 3;
const HAS_UUID = 0x10;
const HAS_OWNER = 0x20;
const HAS_METADATA = 0x40;

/** @throws Error when the bytes are not an entry */
export function readJournalEntry(entry: Uint8Array): JournalEffect[] {
  const bytes = Buffer.from(entry);
  let at = 0;
  const u8 = () => bytes.readUInt8(at++);
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number) => {
    if (at + length > bytes.length)
      throw new RangeError(`the entry ends at ${bytes.length}, not ${at + length}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const granted = (head: number, slot: number, number: number): JournalEffect => {
    const hash = take(4).readUInt32LE();
    const ttlMs = varint();
    const keyLength = varint();
    const tokenLength = head & HAS_UUID ? 16 : u8();
    const ownerLength = head & HAS_OWNER ? varint() : 0;
    const metadataLength = head & HAS_METADATA ? varint() : 0;
    const name = take(keyLength).toString();
    const token = take(tokenLength).toString('hex');
    const owner = take(ownerLength).toString();
    take(metadataLength);
    return { kind: 'granted', slot, number, hash, fencingToken: number, name, token, owner, ttlMs };
  };
  if (u8() !== VERSION) throw new Error(`entry of version ${bytes[0]}`);
  const effects: JournalEffect[] = [];
  while (at < bytes.length) {
    const head = u8();
    const slot = varint();
    const number = varint();
    if ((head & 0x0f) === GRANTED) {
      effects.push(granted(head, slot, number));
      continue;
    }
    const hash = take(4).readUInt32LE();
    const fencingToken = number - varint();
    if ((head & 0x0f) === RENEWED) {
      const ttlMs = varint();
      if (head & HAS_METADATA) take(varint());
      effects.push({ kind: 'renewed', slot, number, hash, fencingToken, ttlMs });
    } else if ((head & 0x0f) === ENDED) {
      effects.push({ kind: 'ended', slot, number, hash, fencingToken, reason: head >>> 4 });
    } else {
      throw new Error(`an effect of kind ${head & 0x0f}`);
    }
  }
  return effects;
}
