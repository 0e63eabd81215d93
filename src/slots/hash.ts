/**
 * The hash that decides where a lock lives: HalfSipHash-1-3 with 32 bits of
 * output, under a key that each cluster draws at its birth.
 *
 * Keyed, because names come from clients: who knows an unkeyed hash can put
 * all its locks into one slot. HalfSipHash, because it works on 32-bit words,
 * which JavaScript does without allocating, and one pass over a name gives
 * slot, table position and the name's short form in the journal. (Aumasson and
 * Bernstein, «SipHash: a fast short-input PRF»; HalfSipHash is its 32-bit form.)
 *
 * The result is part of the stored format: it must never change.
 */

export interface HashKey {
  /** Bytes 0–3 of the key, little-endian, unsigned. */
  readonly k0: number;
  /** Bytes 4–7. */
  readonly k1: number;
}

/** A key from its 8 bytes in 16 hex characters. */
export function parseHashKey(hex16: string): HashKey {
  if (!/^[0-9a-f]{16}$/i.test(hex16)) throw new TypeError('a hash key is 16 hex characters');
  const bytes = new DataView(new ArrayBuffer(8));
  for (let i = 0; i < 8; i++) bytes.setUint8(i, Number.parseInt(hex16.slice(2 * i, 2 * i + 2), 16));
  return { k0: bytes.getUint32(0, true), k1: bytes.getUint32(4, true) };
}

/** The hash of `length` bytes from `at`: unsigned, 32 bits. */
export function hashBytes(bytes: Uint8Array, at: number, length: number, key: HashKey): number {
  return halfSipHash(bytes, at, length, key.k0, key.k1, 1, 3);
}

/**
 * HalfSipHash-c-d. The number of rounds is a parameter so that the tests can
 * hold this very code against the published vectors, which are for 2-4.
 */
export function halfSipHash(
  bytes: Uint8Array,
  at: number,
  length: number,
  k0: number,
  k1: number,
  compressRounds: number,
  finalRounds: number,
): number {
  let v0 = k0 | 0;
  let v1 = k1 | 0;
  let v2 = k0 ^ 0x6c796765;
  let v3 = k1 ^ 0x74656462;
  const whole = at + (length & ~3);
  let word = 0;
  // The words of the input, then the rest of it with the length in its top byte.
  for (let i = at; i <= whole; i += 4) {
    if (i < whole) {
      word = bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    } else {
      const left = length & 3;
      word = length << 24;
      if (left > 0) word |= bytes[i];
      if (left > 1) word |= bytes[i + 1] << 8;
      if (left > 2) word |= bytes[i + 2] << 16;
    }
    v3 ^= word;
    for (let round = 0; round < compressRounds; round++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    v0 ^= word;
  }
  v2 ^= 0xff;
  for (let round = 0; round < finalRounds; round++) {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
  }
  return (v1 ^ v3) >>> 0;
}

/** The slot of a hash: its top bits. `slots` is a power of two ≥ 2. */
export function slotOf(hash: number, slots: number): number {
  return hash >>> (Math.clz32(slots) + 1);
}

/**
 * Where the tag of a name lies: what stands between its first `{` and the next
 * `}` after it, if that is at least one byte. No other braces count: `{}{a}`
 * and `a}b{c` have no tag, the tag of `{{a}}` is `{a`.
 *
 * Packed, to return two numbers without an object: start · 2^16 + length, the
 * start counted from `at`; 0 = no tag. `length` < 2^15.
 */
export function tagRange(bytes: Uint8Array, at: number, length: number): number {
  const end = at + length;
  let open = at;
  while (open < end && bytes[open] !== OPEN) open++;
  let close = open + 1;
  while (close < end && bytes[close] !== CLOSE) close++;
  if (close >= end || close === open + 1) return 0;
  return ((open + 1 - at) << 16) | (close - open - 1);
}

const OPEN = 0x7b;
const CLOSE = 0x7d;

/** Namespace, its separator and a tag: all are parts of a key. */
const scratch = new Uint8Array(2_048);

/**
 * The hash that gives a key its slot: the key's own, or, when its name has a
 * tag, that of the tag behind the namespace prefix.
 *
 * @param keyAt where the key begins: `name`, or `namespace \0 name`
 * @param nameAt where its name begins, = keyAt in the default namespace
 * @param hash hashBytes of the whole key
 */
export function slotHash(
  bytes: Uint8Array,
  keyAt: number,
  keyLength: number,
  nameAt: number,
  hash: number,
  key: HashKey,
): number {
  const prefix = nameAt - keyAt;
  const tag = tagRange(bytes, nameAt, keyLength - prefix);
  if (tag === 0) return hash;
  const tagAt = nameAt + (tag >>> 16);
  const tagLength = tag & 0xffff;
  if (prefix === 0) return hashBytes(bytes, tagAt, tagLength, key);
  for (let i = 0; i < prefix; i++) scratch[i] = bytes[keyAt + i];
  for (let i = 0; i < tagLength; i++) scratch[prefix + i] = bytes[tagAt + i];
  return hashBytes(scratch, 0, prefix + tagLength, key);
}
