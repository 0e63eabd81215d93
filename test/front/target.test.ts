import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Problem } from '../../src/errors.ts';
import { percentDecode, readQuery } from '../../src/front/target.ts';

test('what encodeURIComponent wrote is read as it was', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(percentDecode(encodeURIComponent(text), false)?.toString()).toBe(text);
    }),
  );
});

test('any bytes can be named', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const encoded = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
      expect(new Uint8Array(percentDecode(encoded, true) ?? [1])).toEqual(
        bytes.length === 0 ? new Uint8Array() : bytes,
      );
    }),
  );
});

test.each(['%', '%4', '%zz', '%4z', '%z4', '% 4', '%-1', 'é', 'Ã©', 'a\u007f'])(
  '%j is no percent-encoding',
  (text) => {
    expect(percentDecode(text, false)).toBeUndefined();
  },
);

test('a plus is a space in queries only', () => {
  expect(percentDecode('a+b%2B', true)?.toString()).toBe('a b+');
  expect(percentDecode('a+b%2B', false)?.toString()).toBe('a+b+');
});

test('queries', () => {
  const read = (query: string): [Record<string, string>, string[]] => {
    const problems: Problem[] = [];
    const found = readQuery(query, ['a', 'b'], problems);
    return [Object.fromEntries(found), problems.map(({ pointer }) => pointer)];
  };
  expect(read('')).toEqual([{}, []]);
  expect(read('a=1&b=x%3Dy=z')).toEqual([{ a: '1', b: 'x=y=z' }, []]);
  expect(read('a&&%62=%C3%A9')).toEqual([{ a: '', b: 'é' }, []]);
  expect(read('a=1&a=2')).toEqual([{ a: '1' }, ['query/a']]);
  expect(read('c=1')).toEqual([{}, ['query/c']]);
  expect(read('a=%ff')).toEqual([{}, ['query']]);
  expect(read('x&'.repeat(100_000))[1].length).toBeLessThan(20);
});
