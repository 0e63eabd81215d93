import { expect, test } from 'vitest';
import { copyOf } from '../../src/protocol/bytes.ts';

test('a copy is one, also of a view in a buffer that others use', () => {
  for (const bytes of [
    Buffer.from([9, 1, 2, 3, 9]).subarray(1, 4),
    new Uint8Array([9, 1, 2, 3, 9]).subarray(1, 4),
  ]) {
    const copy = copyOf(bytes, 1, 3);
    bytes.fill(0);
    expect([...copy]).toEqual([2, 3]);
    expect([...new Uint8Array(copy.buffer)]).toEqual([2, 3]);
  }
});
