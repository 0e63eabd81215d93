/**
 * A reader of entries and checkpoints made from docs/journal.md alone, in the
 * plainest way: if it can read what Holdfast writes, so can others.
 */

interface ClaimRead {
  readonly fencingToken: number;
  readonly hash: string;
  readonly ttlMs: number;
  readonly key: string;
  readonly token: Buffer;
  readonly owner: string;
  readonly metadata: string;
  /** Of a hand-over's checkpoint only. */
  leftMs?: number;
}

export type EffectRead = { readonly slot: number; readonly number: number } & (
  | { readonly kind: 1; readonly claim: ClaimRead }
  | {
      readonly kind: 2;
      readonly of: number;
      readonly hash: string;
      readonly ttlMs: number;
      readonly metadata: string;
    }
  | { readonly kind: 3; readonly of: number; readonly hash: string; readonly reason: number }
);

export interface CheckpointRead {
  slot: number;
  counter: number;
  claims: ClaimRead[];
  ended: { ageMs: number; fingerprint: string }[];
  last: 'claim' | 'other';
}

class Bytes {
  private readonly buffer: Buffer;
  private at = 0;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
  }

  get left(): number {
    return this.buffer.length - this.at;
  }
  u8(): number {
    return this.buffer[this.at++];
  }
  u32(): string {
    this.at += 4;
    return this.buffer
      .readUInt32LE(this.at - 4)
      .toString(16)
      .padStart(8, '0');
  }
  varint(): number {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  }
  take(length: number): Buffer {
    this.at += length;
    return this.buffer.subarray(this.at - length, this.at);
  }
}

function readClaim(bytes: Bytes, flags: number, fencingToken: number): ClaimRead {
  const hash = bytes.u32();
  const ttlMs = bytes.varint();
  const keyLength = bytes.varint();
  const tokenLength = flags & 0x10 ? 16 : bytes.u8();
  const ownerLength = flags & 0x20 ? bytes.varint() : 0;
  const metadataLength = flags & 0x40 ? bytes.varint() : 0;
  const key = bytes.take(keyLength).toString();
  const token = bytes.take(tokenLength);
  const owner = bytes.take(ownerLength).toString();
  return { fencingToken, hash, ttlMs, key, token, owner, metadata: bytes.take(metadataLength).toString() };
}

export function readEntry(entry: Buffer): EffectRead[] {
  const bytes = new Bytes(entry);
  if (bytes.u8() !== 1) throw new Error('version');
  const effects: EffectRead[] = [];
  while (bytes.left > 0) {
    const head = bytes.u8();
    const slot = bytes.varint();
    const number = bytes.varint();
    const kind = head & 0x0f;
    if (kind === 1) {
      effects.push({ slot, number, kind, claim: readClaim(bytes, head & 0xf0, number) });
      continue;
    }
    const hash = bytes.u32();
    const of = number - bytes.varint();
    if (kind === 2) {
      const ttlMs = bytes.varint();
      const metadata = head & 0x40 ? bytes.take(bytes.varint()).toString() : '';
      effects.push({ slot, number, kind, of, hash, ttlMs, metadata });
    } else if (kind === 3) {
      effects.push({ slot, number, kind, of, hash, reason: head & 0xf0 });
    } else {
      throw new Error(`kind ${kind}`);
    }
  }
  return effects;
}

export function readCheckpoint(chunks: readonly Buffer[]): CheckpointRead {
  const read: CheckpointRead = { slot: 0, counter: 0, claims: [], ended: [], last: 'other' };
  for (const chunk of chunks) {
    const bytes = new Bytes(chunk.subarray(0, -4));
    const [version, flags] = [bytes.u8(), bytes.u8()];
    if (version !== 1 || flags !== (chunk === chunks[chunks.length - 1] ? 1 : 0)) throw new Error('chunk');
    if (crc32(chunk.subarray(0, -4)) !== chunk.readUInt32LE(chunk.length - 4)) throw new Error('crc');
    read.slot = bytes.varint();
    read.counter = bytes.varint();
    if (bytes.varint() !== chunks.indexOf(chunk)) throw new Error('index');
    while (bytes.left > 0) readRecord(bytes, read);
  }
  return read;
}

function readRecord(bytes: Bytes, read: CheckpointRead): void {
  const head = bytes.u8();
  if ((head & 0x0f) === 1) {
    read.claims.push(readClaim(bytes, head & 0xf0, bytes.varint()));
    read.last = 'claim';
    return;
  }
  const behindClaim = read.last === 'claim';
  read.last = 'other';
  if (head === 4) {
    if (!behindClaim) throw new Error('a time of no claim');
    read.claims[read.claims.length - 1].leftMs = bytes.varint();
  } else if (head === 2) {
    const ageMs = bytes.varint();
    const low = bytes.u32();
    read.ended.push({ ageMs, fingerprint: bytes.u32() + low });
  } else {
    const sums = [bytes.varint(), bytes.varint()];
    if (head !== 3 || sums[0] !== read.claims.length || sums[1] !== read.ended.length) throw new Error('sum');
  }
}

/** In integers without bounds, cut to 32 bits where the page says so. */
export function fingerprint(hashHex: string, token: Buffer): string {
  const word = (value: bigint) => value & 0xffff_ffffn;
  const hash = BigInt(`0x${hashHex}`);
  const length = BigInt(token.length);
  let a = word((hash ^ length) * 0x9e3779b1n);
  let b = word(word(hash + length) * 0x85ebca77n);
  for (let i = 0; i < token.length; i += 4) {
    const group = Buffer.concat([token.subarray(i, i + 4), Buffer.alloc(4)]).readUInt32LE(0);
    a = word((a ^ BigInt(group)) * 0xcc9e2d51n);
    a ^= a >> 15n;
    b = word((b ^ BigInt(group)) * 0x1b873593n);
    b ^= b >> 13n;
  }
  a = word((a ^ (b >> 16n)) * 0xc2b2ae3dn);
  b = word((b ^ (a >> 15n)) * 0x27d4eb2fn);
  const low = a ^ (b >> 13n);
  const high = b ^ (low >> 16n);
  return [high, low].map((half) => half.toString(16).padStart(8, '0')).join('');
}

function crc32(bytes: Buffer): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
