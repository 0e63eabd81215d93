/** Bytes as a key of a Map: one character a byte. */
import { Buffer } from 'node:buffer';

export function latin1(bytes: Uint8Array, at: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('latin1');
}
