import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AnswerBytes } from '../../src/protocol/answer.ts';
import { AnswerRuns } from '../../src/peers/runs.ts';

test('each connection gets all of its bytes with one call, in their order', () => {
  const runs = new AnswerRuns();
  const piece = fc.record({
    connection: fc.nat(5),
    size: fc.integer({ min: 1, max: 4 }),
    wanted: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 700, size: 'max' }), (pieces) => {
      const source = new AnswerBytes();
      const expected = new Map<number, number[]>();
      for (const { connection, size, wanted } of pieces) {
        const at = source.length;
        source.ensure(size);
        for (let i = 0; i < size; i++) source.bytes[at + i] = (at + i) & 0xff;
        source.length = at + size;
        if (!wanted) continue;
        runs.add(connection, at, at + size);
        expected.set(connection, [
          ...(expected.get(connection) ?? []),
          ...source.bytes.subarray(at, at + size),
        ]);
      }
      const got = new Map<number, number[]>();
      runs.deliver(source, (connection, from, at, end) => {
        expect(got.has(connection)).toBe(false);
        got.set(connection, [...Buffer.from(from.bytes.subarray(at, end))]);
      });
      expect(got).toEqual(expected);
    }),
  );
});
