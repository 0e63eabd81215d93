/**
 * A reader of entries and checkpoints made from docs/journal.md alone, in the
 * plainest way: if it can read what Holdfast writes, so can others.
 */

interface ClaimRead {
  /** Fencing token, or the waiter's number. */
  readonly number: number;
  readonly hash: string;
  readonly ttlMs: number;
  readonly key: string;
  readonly token: Buffer;
  readonly owner: string;
  readonly metadata: string;
  readonly principal: string;
  readonly mode: number;
  readonly limit: number;
  readonly lockDelayMs: number;
  readonly keyed: boolean;
  /** Numbers, 0 = none. */
  readonly stub: number;
  readonly batch: number;
}

interface StubRead {
  readonly number: number;
  readonly hash: string;
  readonly ttlMs: number;
  readonly key: Buffer;
  readonly owner: string;
  readonly principal: string;
}

export type EffectRead = { readonly slot: number; readonly number: number } & (
  | { readonly kind: 1 | 4; readonly claim: ClaimRead }
  | { readonly kind: 8; readonly stub: StubRead }
  | ({ readonly of: number; readonly hash: string } & (
      | { readonly kind: 2; readonly ttlMs: number; readonly metadata: string }
      | { readonly kind: 3 | 5 | 6 | 9 | 10; readonly reason: number }
      | { readonly kind: 7; readonly one: boolean; readonly reason: string; readonly principal: string }
      | { readonly kind: 11; readonly sessionSlot: number; readonly active: boolean }
    ))
);

export type RecordRead =
  | { readonly kind: 1 | 5 | 7; readonly claim: ClaimRead }
  | { readonly kind: 6; readonly stub: StubRead }
  | { readonly kind: 4; readonly leftMs: number }
  | { readonly kind: 8; readonly sessionSlot: number; readonly active: boolean }
  | { readonly kind: 2 | 9; readonly ageMs: number; readonly fingerprint: string };

export interface CheckpointRead {
  slot: number;
  counter: number;
  records: RecordRead[];
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

function readClaim(bytes: Bytes, flags: number, number: number): ClaimRead {
  const more = flags & 0x80 ? bytes.u8() : 0;
  const hash = bytes.u32();
  const ttlMs = bytes.varint();
  const keyLength = bytes.varint();
  const tokenLength = flags & 0x10 ? 16 : bytes.u8();
  const ownerLength = flags & 0x20 ? bytes.varint() : 0;
  const metadataLength = flags & 0x40 ? bytes.varint() : 0;
  const limit = (more & 3) === 2 ? bytes.varint() : 0;
  const lockDelayMs = more & 8 ? bytes.varint() : 0;
  const principalLength = more & 0x10 ? bytes.varint() : 0;
  const stub = more & 0x20 ? number - bytes.varint() : 0;
  const batch = more & 0x40 ? number - bytes.varint() : 0;
  const key = bytes.take(keyLength).toString();
  const token = bytes.take(tokenLength);
  const owner = bytes.take(ownerLength).toString();
  const metadata = bytes.take(metadataLength).toString();
  const principal = bytes.take(principalLength).toString();
  const numbers = { number, hash, ttlMs, mode: more & 3, limit, lockDelayMs, keyed: (more & 4) !== 0 };
  return { ...numbers, stub, batch, key, token, owner, metadata, principal };
}

function readStub(bytes: Bytes, flags: number, number: number): StubRead {
  const hash = bytes.u32();
  const ttlMs = bytes.varint();
  const keyLength = bytes.varint();
  const ownerLength = flags & 0x20 ? bytes.varint() : 0;
  const principalLength = flags & 0x40 ? bytes.varint() : 0;
  const key = bytes.take(keyLength);
  const owner = bytes.take(ownerLength).toString();
  return { number, hash, ttlMs, key, owner, principal: bytes.take(principalLength).toString() };
}

export function readEntry(entry: Buffer): EffectRead[] {
  const bytes = new Bytes(entry);
  if (bytes.u8() !== 1) throw new Error('version');
  const effects: EffectRead[] = [];
  while (bytes.left > 0) effects.push(readEffect(bytes));
  return effects;
}

function readEffect(bytes: Bytes): EffectRead {
  const head = bytes.u8();
  const slot = bytes.varint();
  const number = bytes.varint();
  const kind = head & 0x0f;
  if (kind === 1 || kind === 4) return { slot, number, kind, claim: readClaim(bytes, head & 0xf0, number) };
  if (kind === 8) return { slot, number, kind, stub: readStub(bytes, head & 0xf0, number) };
  const hash = bytes.u32();
  const meant = { slot, number, hash, of: number - bytes.varint() };
  switch (kind) {
    case 2: {
      const ttlMs = bytes.varint();
      return { ...meant, kind, ttlMs, metadata: head & 0x40 ? bytes.take(bytes.varint()).toString() : '' };
    }
    case 7: {
      const reasonLength = head & 0x20 ? bytes.varint() : 0;
      const principalLength = head & 0x40 ? bytes.varint() : 0;
      const reason = bytes.take(reasonLength).toString();
      const principal = bytes.take(principalLength).toString();
      return { ...meant, kind, one: (head & 0x10) !== 0, reason, principal };
    }
    case 11:
      return { ...meant, kind, sessionSlot: bytes.varint(), active: (head & 0x10) !== 0 };
    case 3:
    case 5:
    case 6:
    case 9:
    case 10:
      return { ...meant, kind, reason: head & 0xf0 };
    default:
      throw new Error(`kind ${kind}`);
  }
}

export function readCheckpoint(chunks: readonly Buffer[]): CheckpointRead {
  const read: CheckpointRead = { slot: 0, counter: 0, records: [] };
  for (const chunk of chunks) {
    const bytes = new Bytes(chunk.subarray(0, -4));
    const [version, flags] = [bytes.u8(), bytes.u8()];
    if (version !== 1 || flags !== (chunk === chunks[chunks.length - 1] ? 1 : 0)) throw new Error('chunk');
    if (crc32(chunk.subarray(0, -4)) !== chunk.readUInt32LE(chunk.length - 4)) throw new Error('crc');
    read.slot = bytes.varint();
    read.counter = bytes.varint();
    if (bytes.varint() !== chunks.indexOf(chunk)) throw new Error('index');
    while (bytes.left > 0) readRecord(bytes, read.records);
  }
  return read;
}

function readRecord(bytes: Bytes, records: RecordRead[]): void {
  const head = bytes.u8();
  const kind = head & 0x0f;
  const before = records.at(-1)?.kind ?? 0;
  if (kind === 1 || kind === 5 || kind === 7) {
    records.push({ kind, claim: readClaim(bytes, head & 0xf0, bytes.varint()) });
  } else if (kind === 6) {
    records.push({ kind, stub: readStub(bytes, head & 0xf0, bytes.varint()) });
  } else if (head === 4) {
    if (![1, 6, 7].includes(before)) throw new Error('a time of nothing');
    records.push({ kind: 4, leftMs: bytes.varint() });
  } else if (kind === 8) {
    records.push({ kind, sessionSlot: bytes.varint(), active: (head & 0x10) !== 0 });
  } else if (head === 2 || head === 9) {
    const ageMs = bytes.varint();
    const low = bytes.u32();
    records.push({ kind: head, ageMs, fingerprint: bytes.u32() + low });
  } else {
    const counts = [1, 2].map((of) => records.filter((record) => record.kind === of).length);
    if (head !== 3 || bytes.varint() !== counts[0] || bytes.varint() !== counts[1]) throw new Error('sum');
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
