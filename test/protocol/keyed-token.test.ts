import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CallerBytes } from '../../src/protocol/caller.ts';
import { KeyedTokens } from '../../src/protocol/keyed-token.ts';

const SECRET = Buffer.from('a secret of the cluster');
const tokens = new KeyedTokens(SECRET);
const bytes = (text: string): Uint8Array => Buffer.from(text);

test('is the keyed hash of principal, lock and key', () => {
  const text = 'ci\0team-a\0order-1\0job 7';
  const expected = createHmac('sha256', SECRET).update(text).digest().subarray(0, 16);
  expect(tokens.token(bytes('ci'), bytes('team-a\0order-1'), bytes('job 7'))).toEqual(expected);
  const other = new KeyedTokens(Buffer.from('another secret'));
  expect(other.token(bytes('ci'), bytes('team-a\0order-1'), bytes('job 7'))).not.toEqual(expected);
});

test('no two of principal, namespace, name and key share one, however they are cut', () => {
  const part = fc.string({ maxLength: 3, unit: fc.constantFrom('a', 'b') });
  const caller = fc.record({ namespace: fc.constantFrom('default', 'a', 'b', 'ab'), principal: part });
  const asked = fc.record({ caller, name: part, key: part });
  const tokenOf = (one: { caller: { namespace: string; principal: string }; name: string; key: string }) => {
    const { prefix, principal } = new CallerBytes(one.caller);
    const lockKey = Buffer.concat([prefix, Buffer.from(one.name)]);
    return Buffer.from(tokens.token(principal, lockKey, bytes(one.key))).toString('hex');
  };
  fc.assert(
    fc.property(asked, asked, (one, other) => {
      const same = JSON.stringify(one) === JSON.stringify(other);
      expect(tokenOf(one) === tokenOf(other)).toBe(same);
    }),
    { numRuns: 1_000 },
  );
});
