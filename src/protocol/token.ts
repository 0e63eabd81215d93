/**
 * Lock tokens that the front makes for clients which chose none: UUIDs of
 * version 4 (122 random bits), as 16 bytes.
 */
import { randomFillSync } from 'node:crypto';
import { UUID_BYTES } from './words.ts';

/** Random bytes are drawn in bulk: a call for 16 of them costs as much as one for 8 KiB. */
const pool = new Uint8Array(512 * UUID_BYTES);
let used = pool.length;

/** Writes a new token to bytes[at, at + 16). */
export function makeToken(bytes: Uint8Array, at: number): void {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  for (let i = 0; i < UUID_BYTES; i++) bytes[at + i] = pool[used + i];
  pool.fill(0, used, used + UUID_BYTES);
  used += UUID_BYTES;
  bytes[at + 6] = (bytes[at + 6] & 0x0f) | 0x40;
  bytes[at + 8] = (bytes[at + 8] & 0x3f) | 0x80;
}
