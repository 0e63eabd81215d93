import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { NO_FORWARD } from '../../src/peers/frame.ts';
import { InFlight } from '../../src/peers/in-flight.ts';
import { makeOp } from './rig.ts';

test('finds each forward by its id as long as it is under way, and never again', () => {
  // Numbers say what is done next: 0–5 add, others remove the one at that place.
  fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 600, size: 'max' }), (steps) => {
      const inFlight = new InFlight();
      const open = new Map<number, number>();
      const gone: number[] = [];
      steps.forEach((step, n) => {
        if (step <= 5) {
          const id = inFlight.add(makeOp({ id: n, connection: n % 7, receivedAt: n, slot: n % 64 }));
          expect(open.has(id)).toBe(false);
          expect(id).not.toBe(NO_FORWARD);
          open.set(id, n);
        } else if (open.size > 0) {
          const [id, wanted] = [...open][(step * 31) % open.size];
          const i = inFlight.find(id);
          const op = new Op();
          inFlight.restore(i, op);
          expect([op.id, op.connection, op.receivedAt, inFlight.slot[i], inFlight.kind[i]]).toEqual([
            wanted,
            wanted % 7,
            wanted,
            wanted % 64,
            Kind.acquire,
          ]);
          inFlight.remove(i);
          open.delete(id);
          gone.push(id);
        }
        expect(inFlight.count).toBe(open.size);
      });
      for (const id of gone) expect(inFlight.find(id)).toBe(-1);
      const half = steps.length / 2;
      const old = inFlight.receivedBy(half).map((i) => inFlight.receivedAt[i]);
      expect(old.sort((a, b) => a - b)).toEqual(
        [...open.values()].filter((n) => n <= half).sort((a, b) => a - b),
      );
    }),
  );
});

test('an index has tens of thousands of generations, none of which gives the id of a whole frame', () => {
  const inFlight = new InFlight();
  const first = inFlight.add(makeOp());
  let ids = 0;
  for (let id = first; ids === 0 || id !== first; ids++) {
    inFlight.remove(inFlight.find(id));
    id = inFlight.add(makeOp());
    if (id === NO_FORWARD) throw new Error(`after ${ids} generations`);
  }
  expect(ids).toBe(16_383);
});

test('what is free longest is used first', () => {
  const inFlight = new InFlight();
  const ids = [0, 1, 2].map(() => inFlight.add(makeOp()));
  for (const id of [ids[1], ids[0], ids[2]]) inFlight.remove(inFlight.find(id));
  expect([0, 1, 2, 3].map(() => inFlight.add(makeOp()) & 0x3_ffff)).toEqual([1, 0, 2, 3]);
});

test('keeps the tokens that the server made, and only those', () => {
  const inFlight = new InFlight();
  const tokenOf = (id: number): string | undefined => {
    const token = inFlight.tokenOf(inFlight.find(id));
    return token && Buffer.from(token).toString();
  };
  const ids = Array.from({ length: 600 }, (_, i) =>
    inFlight.add(makeOp({ flags: i % 2 === 0 ? OpFlag.madeToken : 0, token: String(i).padStart(16, '-') })),
  );
  for (const [i, id] of ids.entries())
    expect(tokenOf(id)).toBe(i % 2 === 0 ? String(i).padStart(16, '-') : undefined);
});
