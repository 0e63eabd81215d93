import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { ALL, FOREIGN, ids, opOf, Rig, SLOTS, termOf, TIMEOUT_MS } from './rig.ts';

let rig: Rig;

beforeEach(() => {
  rig = new Rig();
});

test('an op goes to the lane that owns its slot', async () => {
  rig.own(0, ALL.subarray(0, 2_048));
  rig.own(2, ALL.subarray(2_048), 's1');
  for (let id = 0; id < 200; id++) rig.submit(`lock-${id}`, id);
  await turn();
  expect(rig.sent.length).toBe(200);
  expect(new Set(rig.sent.map(({ lane }) => lane))).toEqual(new Set([0, 2]));
  for (const { lane, slot } of rig.sent) expect(lane).toBe(slot < 2_048 ? 0 : 2);
});

test('names with one tag share a slot', async () => {
  rig.own(0, ALL);
  for (const [id, name] of ['{order-7}', '{order-7}/stock', 'a{order-7}b', 'order-7'].entries())
    rig.submit(name, id);
  await turn();
  const [a, b, c, d] = rig.sent.map(({ slot }) => slot);
  expect([b, c]).toEqual([a, a]);
  expect(d).toBe(a);
});

test('ops without an owner wait and leave in their order once it is known', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 200 }), async (names) => {
      rig.lose(0, ALL);
      rig.sent.length = 0;
      for (const [id, name] of names.entries()) rig.submit(`lock-${name}`, id);
      await turn();
      expect(rig.sent).toEqual([]);
      rig.own(0, ALL);
      rig.submit('lock-0', names.length);
      await turn();
      expect(rig.sent.length).toBe(names.length + 1);
      for (const name of new Set(names)) {
        const ids = rig.sent.filter(({ key }) => key === `lock-${name}`).map(({ id }) => id);
        expect(ids).toEqual([...ids].sort((a, b) => a - b));
      }
    }),
    { numRuns: 30 },
  );
  expect(rig.refused).toEqual([]);
});

test('what waited for its whole time-out is answered `moving`, the rest stays', async () => {
  rig.submit('old', 1, 0);
  rig.submit('old', 2, 500);
  rig.routing.sweep(TIMEOUT_MS);
  expect(rig.refused).toEqual([]);
  rig.routing.sweep(TIMEOUT_MS + 1);
  expect(rig.refused).toEqual([{ connection: 5, id: 1, code: 'moving' }]);
  rig.own(1, ALL);
  await turn();
  expect(rig.sent.map(({ lane, id }) => [lane, id])).toEqual([[1, 2]]);
});

test('what waited in vain is told when its shard is down', () => {
  const codes = (): string[] => rig.refused.splice(0).map(({ code }) => code);
  const wait = (): string[] => {
    rig.submit('a', 1, 0);
    rig.routing.sweep(TIMEOUT_MS + 1);
    return codes();
  };
  rig.routing.shardDown('s1', true);
  expect(wait()).toEqual(['shard_unavailable']);
  rig.own(0, ALL, 's0');
  rig.lose(0, ALL, 's0');
  expect(wait()).toEqual(['moving']);
  rig.own(0, ALL, 's1');
  rig.lose(0, ALL, 's1');
  expect(wait()).toEqual(['shard_unavailable']);
  rig.routing.shardDown('s1', false);
  expect(wait()).toEqual(['moving']);
});

test('more than can be parked is refused as overloaded, at once', () => {
  for (let id = 0; id < LIMITS.parkedOpsMax + 2; id++) rig.submit('a', id);
  expect(rig.refused).toEqual([
    { connection: 5, id: LIMITS.parkedOpsMax, code: 'overloaded' },
    { connection: 5, id: LIMITS.parkedOpsMax + 1, code: 'overloaded' },
  ]);
});

test('a slot that another lane took meanwhile is not lost by a late word of the first', async () => {
  rig.own(0, ALL);
  rig.own(1, ALL);
  rig.submit('a', 1);
  await turn();
  expect(rig.sent).toEqual([]);
  rig.lose(0, ALL);
  expect(rig.routing.ownedCount).toBe(SLOTS);
  rig.submit('a', 2);
  await turn();
  expect(rig.sent.map(({ lane, id }) => [lane, id])).toEqual([
    [1, 1],
    [1, 2],
  ]);
  rig.lose(1, ALL);
  expect(rig.routing.ownedCount).toBe(0);
});

test('records that a lane sends back are routed anew, unless they are too old', async () => {
  rig.clock.advance(TIMEOUT_MS);
  rig.bounce(
    Object.assign(opOf('abc', 0, 0), { slot: 17 }),
    Object.assign(opOf('abc', 1, 900), { slot: 17 }),
  );
  expect(rig.refused).toEqual([{ connection: 5, id: 0, code: 'moving' }]);
  rig.own(2, ALL);
  await turn();
  expect(rig.sent).toEqual([{ lane: 2, id: 1, slot: 17, key: 'abc' }]);
});

test('nothing of a slot goes anywhere until all of it is back from the lane that lost it, and that goes first', async () => {
  rig.own(0, ALL);
  const slot = rig.submit('a', 1);
  await turn();
  rig.terms(termOf(FOREIGN, 'other'));
  rig.give(slot, FOREIGN);
  const lost = rig.lose(0, Uint16Array.of(slot), 's0', false);
  rig.submit('a', 3);
  rig.own(1, Uint16Array.of(slot));
  rig.submit('a', 4);
  rig.bounce(Object.assign(opOf('a', 1), { slot }));
  rig.bounce(Object.assign(opOf('a', 2), { slot }));
  await turn();
  rig.settle(0, lost - 1);
  rig.settle(1, lost + 9);
  await turn();
  expect(ids(rig.sent)).toEqual([1]);
  rig.settle(0, lost);
  rig.submit('a', 5);
  await turn();
  expect(rig.sent.slice(1).map(({ lane, id }) => [lane, id])).toEqual([1, 2, 3, 4, 5].map((id) => [1, id]));
  expect(rig.forwarded).toEqual([]);
});

test('what waits is told to the lanes once it stays, and once more when it is over', () => {
  const told: number[][] = [];
  rig.routing.tellWanted((slots) => told.push([...slots]));
  const slot = rig.submit('a', 1);
  expect([...rig.routing.wanted()]).toEqual([slot]);
  rig.own(0, Uint16Array.of(slot));
  rig.clock.advance(1_000);
  expect(told).toEqual([]);
  const other = rig.submit('b', 2);
  rig.submit('b', 3);
  rig.clock.advance(1_000);
  rig.submit('b', 4);
  rig.clock.advance(1_000);
  expect(told).toEqual([[other]]);
  rig.own(0, Uint16Array.of(other));
  rig.clock.advance(1_000);
  expect(told).toEqual([[other], []]);
});

test('it knows who serves how many slots', () => {
  rig.own(0, ALL.subarray(0, 10));
  rig.own(2, ALL.subarray(10, 15), 's1');
  rig.terms(termOf(FOREIGN, 'other'));
  rig.give(9, FOREIGN);
  rig.give(20, FOREIGN);
  rig.give(21, 'nobody heard of it yet');
  const shares = rig.routing
    .shares()
    .map(({ shard, lane, here, slots, term }) => [shard, lane, here, slots, term?.id]);
  expect(shares).toEqual([
    [0, 0, true, 10, undefined],
    [0, 0, false, 1, FOREIGN],
    [1, 2, true, 5, undefined],
  ]);
});
