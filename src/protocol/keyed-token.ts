/**
 * The lock token that stands for an `Idempotency-Key`: the same one whenever,
 * and from whichever process, the same principal shows the key for the same
 * lock, and nobody without the cluster's secret can tell it.
 *
 *   token := first 16 bytes of HMAC-SHA-256(secret, principal 00 key-of-the-lock 00 Idempotency-Key)
 *
 * None of the three has a zero byte in it but the key of a lock behind its
 * namespace, so no two triples are the same text.
 */
import { createHmac } from 'node:crypto';
import { UUID_BYTES } from './words.ts';

const ZERO = Uint8Array.of(0);

export class KeyedTokens {
  private readonly secret: Uint8Array;

  /** @param secret the same in all processes of the cluster, and after restarts */
  constructor(secret: Uint8Array) {
    this.secret = secret;
  }

  /** @param lockKey namespace and name, as in an op */
  token(principal: Uint8Array, lockKey: Uint8Array, idempotencyKey: Uint8Array): Uint8Array {
    const hmac = createHmac('sha256', this.secret);
    for (const part of [principal, ZERO, lockKey, ZERO, idempotencyKey]) hmac.update(part);
    return hmac.digest().subarray(0, UUID_BYTES);
  }
}
