/** Where ops belong, and what becomes of waits at other processes when a slot's owner changes. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Kind } from '../../src/op.ts';
import { ALL, FOREIGN, ids, MINE, opOf, Rig, termOf } from './rig.ts';

describe('where an op belongs', () => {
  test('a tag counts in the name only, not in the namespace before it', () => {
    const rig = new Rig();
    rig.own(0, ALL);
    const slotOfKey = (key: string, namespaceLength: number): number => {
      const op = Object.assign(opOf(key, 1), { namespaceLength });
      rig.routing.submit(op);
      return op.slot;
    };
    // Names of one tag and namespace share a slot, those of another namespace have their own.
    expect(slotOfKey('ns\0{order-7}/a', 3)).toBe(slotOfKey('ns\0b/{order-7}', 3));
    expect(slotOfKey('ns\0{order-7}/a', 3)).not.toBe(slotOfKey('{order-7}/a', 0));
    expect(slotOfKey('ns\0{order-7}/a', 3)).not.toBe(slotOfKey('other\0{order-7}/a', 6));
    // Braces of a namespace are none of the name's.
    expect(slotOfKey('{x}\0a', 4)).not.toBe(slotOfKey('{x}\0b', 4));
    expect(slotOfKey('{x}\0a', 4)).toBe(slotOfKey('{x}\0a', 4));
    const { places } = rig.routing;
    for (const [key, length] of [
      ['ns\0{order-7}/a', 3],
      ['plain', 0],
    ] as const) {
      const bytes = Buffer.from(`..${key}`);
      expect(places.slotOfKey(bytes, 2, key.length, length)).toBe(slotOfKey(key, length));
    }
  });

  test('an op to a slot goes there, with the hash of its key', () => {
    const rig = new Rig();
    rig.own(0, ALL);
    const own = opOf('abc', 1);
    rig.routing.submit(own);
    const elsewhere = opOf('abc', 2);
    rig.routing.submitAt(elsewhere, 9);
    expect([elsewhere.slot, elsewhere.hash]).toEqual([9, own.hash]);
    const parked = new Rig();
    parked.routing.submitAt(opOf('abc', 3), 9);
    expect([...parked.routing.wanted()]).toEqual([9]);
  });
});

describe('waits and watches that stand with another process', () => {
  const slot = 5;

  test('are ended when their slot gets another owner, each slot once', () => {
    const rig = new Rig();
    rig.terms(termOf(FOREIGN, 'other'), termOf(MINE, 'me'), termOf('b'.repeat(16), 'third'));
    rig.give(slot, FOREIGN);
    rig.give(6, 'b'.repeat(16));
    expect(rig.ended).toEqual([]);
    rig.give(slot, FOREIGN);
    expect(rig.ended).toEqual([]);
    rig.give(slot, MINE);
    expect(rig.ended).toEqual([{ process: 'other', slots: [slot] }]);
    rig.give(slot);
    rig.give(6, FOREIGN);
    expect(rig.ended.slice(1)).toEqual([{ process: 'third', slots: [6] }]);
    // By then nothing stands where it was its own process's.
    rig.give(6);
    expect(rig.ended.slice(2)).toEqual([{ process: 'other', slots: [6] }]);
  });

  test('are ended when the term of their owner is over', () => {
    const rig = new Rig();
    rig.terms(termOf(FOREIGN, 'other'));
    rig.give(slot, FOREIGN);
    rig.give(6, FOREIGN);
    rig.terms();
    expect(rig.ended).toEqual([{ process: 'other', slots: [slot, 6] }]);
    rig.give(slot);
    expect(rig.ended.length).toBe(1);
  });
});

describe('a wait that was taken back while its slot had no owner', () => {
  const slot = 5;
  const wait = (id: number, kind: Kind = Kind.acquire) =>
    Object.assign(opOf('abc', id), { connection: 3, kind, waitMs: 1_000, attempt: 1 });

  test('goes to nobody, its cancellation and all others do, in their order', async () => {
    const rig = new Rig();
    for (const op of [wait(1), wait(2), wait(3, Kind.cancel), opOf('abc', 4)]) rig.routing.submitAt(op, slot);
    rig.over.add(1).add(4);
    rig.own(0, ALL);
    await turn();
    expect(ids(rig.sent)).toEqual([2, 3, 4]);
    expect(rig.refused).toEqual([{ connection: 3, id: 1, code: 'moving' }]);
  });

  test('nor over a link that comes up', () => {
    const rig = new Rig();
    rig.terms(termOf(FOREIGN, 'other'));
    rig.give(slot, FOREIGN);
    rig.link = 'noLink';
    for (const op of [wait(1), wait(3, Kind.cancel)]) rig.routing.submitAt(op, slot);
    rig.over.add(1);
    rig.link = 'taken';
    rig.routing.linkUp('other');
    expect(ids(rig.forwarded)).toEqual([3]);
    expect(ids(rig.refused)).toEqual([1]);
    expect([...rig.routing.wanted()]).toEqual([]);
  });
});

describe('a process whose waits stand here is gone', () => {
  const slot = 5;
  const wait = (id: number, connection: number) =>
    Object.assign(opOf('abc', id), { slot, connection, kind: Kind.acquire, waitMs: 1_000, attempt: id });

  test('the lanes hear of it, behind what came from it', () => {
    const rig = new Rig();
    rig.own(0, ALL);
    rig.routing.submitForwarded(wait(1, 77), MINE);
    rig.routing.connectionGone(77);
    expect(rig.gone).toEqual([{ connection: 77, behind: [1] }]);
  });

  test('what waits here for its slot is dropped: it would stand for nobody', async () => {
    const rig = new Rig();
    rig.terms(termOf(MINE, 'me'));
    for (const op of [wait(1, 77), wait(2, 78), wait(3, 77)])
      expect(rig.routing.submitForwarded(op, MINE)).toBe(true);
    const get = Object.assign(opOf('abc', 4), { slot, connection: 77 });
    rig.routing.submitForwarded(get, MINE);
    rig.routing.connectionGone(77);
    rig.own(0, ALL);
    await turn();
    // What changes or only reads is not given up with its socket.
    expect(ids(rig.sent)).toEqual([2, 4]);
    expect([...rig.routing.wanted()]).toEqual([]);
  });

  test('nothing of it is left: the slot is served as before', async () => {
    const rig = new Rig();
    rig.terms(termOf(MINE, 'me'));
    rig.routing.submitForwarded(wait(1, 77), MINE);
    rig.routing.connectionGone(77);
    expect([...rig.routing.wanted()]).toEqual([]);
    rig.own(0, ALL);
    rig.routing.submitForwarded(wait(2, 78), MINE);
    await turn();
    expect(ids(rig.sent)).toEqual([2]);
  });
});
