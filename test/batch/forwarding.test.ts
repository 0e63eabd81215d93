/** Ops that go to other processes, and those that come from them. */
import { setImmediate as turn } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind, OpFlag } from '../../src/op.ts';
import { ALL, FOREIGN, ids, MINE, opOf, Rig, SLOTS, termOf, TIMEOUT_MS } from './rig.ts';

let rig: Rig;

beforeEach(() => {
  rig = new Rig();
});

describe('forwarding', () => {
  test('to the living term of another process that the map names, and to nobody else', () => {
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    expect(rig.forwarded).toEqual([]);
    rig.terms(termOf(FOREIGN, 'other'));
    expect(rig.forwarded).toEqual([{ term: FOREIGN, id: 1, slot, receivedAt: 0 }]);
    rig.submit('a', 2, 7);
    expect(rig.forwarded[1]).toEqual({ term: FOREIGN, id: 2, slot, receivedAt: 7 });
    rig.terms();
    rig.submit('a', 3);
    rig.routing.forwardDone(slot);
    rig.routing.forwardDone(slot);
    rig.terms(termOf(FOREIGN, 'me'));
    expect(ids(rig.forwarded)).toEqual([1, 2]);
    rig.give(slot);
    rig.terms(termOf(FOREIGN, 'other'));
    expect(ids(rig.forwarded)).toEqual([1, 2]);
  });

  test('a lane of this process comes first, but not before what is under way elsewhere is done', async () => {
    rig.terms(termOf(FOREIGN, 'other'));
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    expect(ids(rig.forwarded)).toEqual([1]);
    rig.own(0, Uint16Array.of(slot));
    rig.submit('a', 2);
    await turn();
    expect(rig.sent).toEqual([]);
    rig.routing.forwardDone(slot);
    rig.submit('a', 3);
    await turn();
    expect(ids(rig.sent)).toEqual([2, 3]);
    expect(ids(rig.forwarded)).toEqual([1]);
  });

  test('only to one term at a time', () => {
    const second = 'eeeeeeeeeeeeeeee';
    rig.terms(termOf(FOREIGN, 'other'), termOf(second, 'third'));
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    rig.give(slot, second);
    rig.submit('a', 2);
    expect(ids(rig.forwarded)).toEqual([1]);
    rig.routing.forwardDone(slot);
    expect(rig.forwarded.map(({ term, id }) => [term, id])).toEqual([
      [FOREIGN, 1],
      [second, 2],
    ]);
  });

  test('without a link ops wait for one, with a full one they are refused', () => {
    rig.link = 'noLink';
    rig.terms(termOf(FOREIGN, 'other'));
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    rig.submit('a', 2);
    expect(rig.forwarded).toEqual([]);
    rig.link = 'taken';
    rig.routing.linkUp('somebody');
    expect(rig.forwarded).toEqual([]);
    rig.routing.linkUp('other');
    expect(ids(rig.forwarded)).toEqual([1, 2]);
    rig.link = 'full';
    rig.submit('a', 3);
    expect(rig.refused).toEqual([{ connection: 5, id: 3, code: 'overloaded' }]);
  });

  test('what a term refused goes first, after a while, when all of it is back', () => {
    rig.terms(termOf(FOREIGN, 'other'));
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    rig.submit('a', 2);
    rig.submit('a', 3);
    const back = (id: number): void =>
      rig.routing.returned(Object.assign(opOf('a', id), { slot, flags: OpFlag.full | OpFlag.forwarded }));
    rig.routing.forwardDone(slot);
    back(2);
    rig.submit('a', 4);
    rig.clock.advance(2 * LIMITS.notOwnerRetryMs);
    expect(ids(rig.forwarded)).toEqual([1, 2, 3]);
    back(3);
    rig.clock.advance(LIMITS.notOwnerRetryMs - 1);
    expect(ids(rig.forwarded)).toEqual([1, 2, 3]);
    rig.clock.advance(1);
    expect(ids(rig.forwarded)).toEqual([1, 2, 3, 2, 3, 4]);
  });

  test('an owner that goes on refusing is asked ever more seldom, until something changes', () => {
    rig.terms(termOf(FOREIGN, 'other'));
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    const refuse = (): void => rig.routing.returned(Object.assign(opOf('a', 1), { slot }));
    let asked = 1;
    for (const waitMs of [20, 40, 80, 160, 320, 500, 500]) {
      refuse();
      rig.clock.advance(waitMs - 1);
      expect(rig.forwarded.length).toBe(asked);
      rig.clock.advance(1);
      expect(rig.forwarded.length).toBe(++asked);
    }
    rig.routing.forwardDone(slot);
    rig.submit('a', 1);
    refuse();
    rig.clock.advance(20);
    expect(rig.forwarded.length).toBe(asked + 2);
  });

  test('another owner is asked at once', () => {
    const second = 'eeeeeeeeeeeeeeee';
    rig.terms(termOf(FOREIGN, 'other'), termOf(second, 'third'));
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    rig.routing.returned(Object.assign(opOf('a', 1), { slot }));
    expect(ids(rig.forwarded)).toEqual([1]);
    rig.give(slot, second);
    expect(rig.forwarded.map(({ term }) => term)).toEqual([FOREIGN, second]);
    rig.give(slot, FOREIGN);
    rig.routing.returned(Object.assign(opOf('a', 1), { slot }));
    expect(rig.forwarded.map(({ term }) => term)).toEqual([FOREIGN, second, FOREIGN]);
  });

  test('a term that is over is not waited for much longer', () => {
    const second = 'eeeeeeeeeeeeeeee';
    rig.terms(termOf(FOREIGN, 'other'), termOf(second, 'other'));
    const slot = rig.submit('a', 1);
    const other = rig.submit('b', 2);
    rig.give(slot, FOREIGN);
    rig.give(other, second);
    rig.terms(termOf(second, 'other'));
    expect(rig.abandoned).toEqual([]);
    rig.clock.advance(LIMITS.termPollMs);
    expect(rig.abandoned).toEqual([{ process: 'other', slots: [slot] }]);
    // Nothing is under way to it, or it lives again.
    rig.routing.forwardDone(slot);
    rig.terms();
    rig.terms(termOf(second, 'other'), termOf(FOREIGN, 'other'));
    rig.terms(termOf(second, 'other'));
    rig.clock.advance(LIMITS.termPollMs);
    expect(rig.abandoned.length).toBe(1);
  });

  test('a page of a listing is not asked for twice', () => {
    rig.routing.returned(Object.assign(opOf('', 3), { kind: Kind.list, slot: 0 }));
    expect(rig.refused).toEqual([{ connection: 5, id: 3, code: 'moving' }]);
  });
});

describe('what other processes forward', () => {
  test('is taken for slots that are served here under the term that it names', async () => {
    rig.own(1, ALL, 's0', MINE);
    expect(rig.submitForwarded(9, 1, MINE)).toBe(true);
    expect(rig.submitForwarded(9, 2, FOREIGN)).toBe(false);
    await turn();
    expect(rig.sent.map(({ lane, id, slot }) => [lane, id, slot])).toEqual([[1, 1, 9]]);
    expect(rig.submitForwarded(SLOTS, 3, MINE)).toBe(false);
  });

  test('waits for a term that has been given the slot, and is never forwarded again', async () => {
    rig.terms(termOf(MINE, 'me'), termOf(FOREIGN, 'other'));
    rig.give(9, FOREIGN);
    expect(rig.submitForwarded(9, 1, FOREIGN)).toBe(false);
    // The sender may know more than this process.
    expect(rig.submitForwarded(9, 2, MINE)).toBe(true);
    rig.give(9, MINE);
    expect([...rig.routing.wanted()]).toEqual([9]);
    rig.own(0, Uint16Array.of(9), 's0', MINE);
    await turn();
    expect(ids(rig.sent)).toEqual([2]);
    expect([rig.forwarded, rig.disowned, rig.refused]).toEqual([[], [], []]);
  });

  test('comes back when the slot goes to another process, also from a lane, and in its order', async () => {
    rig.terms(termOf(MINE, 'me'), termOf(FOREIGN, 'other'));
    rig.own(0, Uint16Array.of(9), 's0', MINE);
    rig.submitForwarded(9, 1, MINE);
    rig.submitForwarded(9, 2, MINE);
    await turn();
    const lost = rig.lose(0, Uint16Array.of(9), 's0', false);
    rig.give(9, FOREIGN);
    expect(rig.submitForwarded(9, 3, MINE)).toBe(true);
    const guest = { slot: 9, connection: 77, flags: OpFlag.forwarded };
    rig.bounce(Object.assign(opOf('abc', 1), guest), Object.assign(opOf('abc', 2), guest));
    expect(rig.disowned).toEqual([]);
    rig.settle(0, lost);
    expect(ids(rig.disowned)).toEqual([1, 2, 3]);
    expect(rig.submitForwarded(9, 4, MINE)).toBe(false);
    rig.give(9, MINE);
    expect(rig.submitForwarded(9, 5, MINE)).toBe(true);
    rig.terms(termOf(FOREIGN, 'other'));
    expect(ids(rig.disowned)).toEqual([1, 2, 3, 5]);
    expect(rig.forwarded).toEqual([]);
  });

  test('does not wait for what this process forwards itself', async () => {
    rig.terms(termOf(MINE, 'me'), termOf(FOREIGN, 'other'));
    const slot = rig.submit('a', 1);
    rig.give(slot, FOREIGN);
    rig.own(0, Uint16Array.of(slot), 's0', MINE);
    rig.submit('a', 2);
    expect(rig.submitForwarded(slot, 3, MINE)).toBe(true);
    await turn();
    expect(ids(rig.sent)).toEqual([3]);
  });

  // Its sender has given it up with the term, and may have had younger ones answered by another owner since.
  test('never goes to a later term of this process', async () => {
    const later = 'bbbbbbbbbbbbbbbb';
    const guest = { slot: 9, connection: 77, flags: OpFlag.forwarded };
    rig.terms(termOf(MINE, 'me'), termOf(later, 'me'));
    rig.own(0, Uint16Array.of(9), 's0', MINE);
    rig.submitForwarded(9, 1, MINE);
    await turn();
    const lost = rig.lose(0, Uint16Array.of(9), 's0', false);
    // While older ones are on their way back nothing is refused, or it would be back before them.
    rig.submitForwarded(9, 2, MINE);
    rig.own(0, Uint16Array.of(9), 's0', later);
    rig.submitForwarded(9, 3, later);
    rig.bounce(Object.assign(opOf('abc', 1), guest));
    expect(rig.disowned).toEqual([]);
    rig.settle(0, lost);
    expect(ids(rig.disowned)).toEqual([1, 2, 3]);
    expect(rig.submitForwarded(9, 4, MINE)).toBe(false);
    expect(rig.submitForwarded(9, 5, later)).toBe(true);
    await turn();
    expect(ids(rig.sent)).toEqual([1, 5]);
  });

  test('stays in its place when a lane loses the slot before its turn came', async () => {
    const later = 'bbbbbbbbbbbbbbbb';
    rig.terms(termOf(MINE, 'me'), termOf(later, 'me'));
    rig.own(1, Uint16Array.of(9), 's0', MINE);
    rig.submitForwarded(9, 1, MINE);
    // Lane 1 has lost it, and its word comes yet.
    rig.own(0, Uint16Array.of(9), 's0', later);
    rig.submitForwarded(9, 2, MINE);
    rig.lose(0, Uint16Array.of(9), 's0', true, later);
    await turn();
    expect(rig.disowned).toEqual([]);
    expect(rig.sent.map(({ lane, id }) => [lane, id])).toEqual([
      [1, 1],
      [1, 2],
    ]);
  });

  test('does not wait for a term on behalf of another one', async () => {
    const later = 'bbbbbbbbbbbbbbbb';
    rig.terms(termOf(MINE, 'me'), termOf(later, 'me'));
    rig.give(9, MINE);
    rig.submitForwarded(9, 1, MINE);
    rig.own(0, Uint16Array.of(9), 's0', later);
    expect(ids(rig.disowned)).toEqual([1]);
    rig.give(8, MINE);
    rig.submitForwarded(8, 2, MINE);
    rig.terms(termOf(later, 'me'));
    expect(ids(rig.disowned)).toEqual([1, 2]);
    await turn();
    expect(rig.sent).toEqual([]);
  });

  test('is refused when its time is up, whatever stands before it', () => {
    rig.terms(termOf(MINE, 'me'));
    rig.give(9, MINE);
    rig.submitForwarded(9, 1, MINE, 600);
    rig.submitForwarded(9, 2, MINE, 100);
    rig.submitForwarded(9, 3, MINE, 700);
    rig.routing.sweep(TIMEOUT_MS + 101);
    expect(rig.refused).toEqual([{ connection: 77, id: 2, code: 'moving' }]);
    rig.routing.sweep(TIMEOUT_MS + 601);
    expect(ids(rig.refused)).toEqual([2, 1]);
  });

  test('is refused once this process is about to end', async () => {
    rig.terms(termOf(MINE, 'me'));
    rig.give(9, MINE);
    rig.submitForwarded(9, 1, MINE);
    rig.routing.refuseForwarded();
    expect(ids(rig.disowned)).toEqual([1]);
    rig.own(0, ALL, 's0', MINE);
    expect(rig.submitForwarded(9, 2, MINE)).toBe(false);
  });

  test('a page of a listing goes to the lane of the term it is for', async () => {
    rig.terms({ ...termOf(MINE, 'me'), lane: 2 });
    const list = Object.assign(opOf('', 1), { kind: Kind.list, slot: 0, connection: 77, hash: 4_711 });
    expect(rig.routing.submitForwarded(list, FOREIGN)).toBe(false);
    expect(rig.routing.submitForwarded(list, MINE)).toBe(true);
    expect(list.hash).toBe(0);
    await turn();
    expect(rig.sent.map(({ lane, id }) => [lane, id])).toEqual([[2, 1]]);
  });
});
