import { expect, test } from 'vitest';
import { checkClaims, type Held } from './checker.ts';

function held(
  fencingToken: number,
  askedAt: number,
  grantedAt: number,
  believedUntil: number,
  name = 'x',
): Held {
  return { name, client: `client ${fencingToken}`, fencingToken, askedAt, grantedAt, believedUntil };
}

test('claims one after the other with rising tokens are fine', () => {
  expect(
    checkClaims([held(1, 0, 1, 5), held(2, 4, 6, 9), held(7, 9, 10, 11), held(1, 0, 1, 50, 'y')]),
  ).toEqual([]);
});

test('two holders at one time are seen, also when one spans many', () => {
  expect(checkClaims([held(1, 0, 1, 5), held(2, 2, 4, 9)])).toHaveLength(1);
  expect(checkClaims([held(1, 0, 1, 50), held(2, 2, 60, 70), held(3, 3, 10, 20)])[0]).toContain(
    'two holders',
  );
});

test('a falling and a repeated token are seen', () => {
  expect(checkClaims([held(5, 0, 1, 2), held(4, 3, 4, 5)])[0]).toContain('fell');
  expect(checkClaims([held(5, 0, 1, 2), held(5, 3, 4, 5)])[0]).toContain('one fencing token');
});

test('tokens of claims asked for at the same time may come in any order', () => {
  expect(checkClaims([held(5, 0, 2, 3), held(4, 1, 4, 5)])).toEqual([]);
});
