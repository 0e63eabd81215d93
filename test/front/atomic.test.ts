import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind } from '../../src/op.ts';
import {
  a,
  acquires,
  begin,
  clock,
  expectNothingLeft,
  held,
  loseClaims,
  model,
  names,
  once,
  repeat,
  slotOf,
  take,
  takeSingle,
  tokens,
  TTL_MS,
} from './atomic-rig.ts';
import { acquireOp, freshToken, lockKey } from './coordinator-rig.ts';

beforeEach(() => begin());

describe('a batch', () => {
  test('holds all its locks', () => {
    const of = names(7);
    const asked = take(of);
    expect(asked.told).toHaveLength(1);
    const got = asked.told[0].held!;
    expect(got.map(({ status, ttlMs }) => [status, ttlMs])).toEqual(of.map(() => [201, TTL_MS]));
    expect(held(of)).toEqual(of.map(() => true));
    for (const [i, name] of of.entries()) {
      const claim = model.claims.get(lockKey(name))!;
      expect(got[i].fencingToken).toBe(claim.fencingToken);
      // The test looks a little later than it was told.
      expect(got[i].expiresInMs).toBeLessThanOrEqual(claim.promisedUntil - clock.now() + 60);
      expect(got[i].expiresInMs).toBeGreaterThan(TTL_MS - 60);
    }
    expectNothingLeft();
  });

  test('asks one owner after the other, in an order of its own', () => {
    const order: string[] = [];
    model.fate = (op) => {
      if (op.kind === Kind.acquire) order.push(`t${op.slot % 3}`);
      return { delayMs: 1 };
    };
    take(names(9).reverse());
    expect(order).toHaveLength(9);
    expect(order).toEqual([...order].sort());
  });

  test('keeps nothing when one lock is held, and says which', () => {
    const of = names(7);
    takeSingle(of[3]);
    const asked = take(of);
    expect(asked.told).toEqual([{ held: undefined, index: 3, code: 'lock_held' }]);
    expect(held(of)).toEqual(of.map(() => false));
    expectNothingLeft();
    // Tokens of a batch that failed can be shown again.
    model.claims.delete(lockKey(of[3]));
    const again = a.batch(repeat(of));
    clock.advance(60);
    expect(again.told[0].held).toHaveLength(7);
  });

  test('leaves what its tokens held before', () => {
    const of = names(4);
    take(of);
    const other = names(5).find((name) => !of.includes(name))!;
    takeSingle(other);
    const longer = [...repeat(of), acquireOp(other, freshToken(), '', TTL_MS)];
    const asked = a.batch(longer);
    clock.advance(60);
    expect(asked.told).toMatchObject([{ index: 4, code: 'lock_held' }]);
    expect(held(of)).toEqual(of.map(() => true));
  });

  test('takes what is missing in a slot where it holds one', () => {
    const [name] = names(1);
    const other = Array.from({ length: 500 }, (_, i) => `x-${i}`).find((x) => slotOf(x) === slotOf(name))!;
    take([name]);
    const [token] = tokens;
    const asked = a.batch([acquireOp(name, token, '', TTL_MS), acquireOp(other, freshToken(), '', TTL_MS)]);
    clock.advance(60);
    expect(asked.told[0].held!.map(({ status }) => status)).toEqual([200, 201]);
  });

  test('is told again to a repeat', () => {
    const of = names(5);
    take(of);
    clock.advance(1_000);
    const again = a.batch(repeat(of));
    clock.advance(60);
    const got = again.told[0].held!;
    expect(got.map(({ status }) => status)).toEqual(of.map(() => 200));
    for (const { expiresInMs } of got) expect(expiresInMs).toBeLessThanOrEqual(TTL_MS - 1_000);
  });

  test('may not be too large', () => {
    const large = acquires(Array.from({ length: 900 }, (_, i) => `large-${i}`));
    for (const op of large) {
      op.bytes = Buffer.concat([op.bytes, Buffer.alloc(1_100, 0x20)]);
      op.metadataAt = op.bytes.length - 1_100;
      op.metadataLength = 1_100;
    }
    expect(large.length * 1_200).toBeGreaterThan(LIMITS.batchBytesMax);
    const asked = a.batch(large);
    clock.advance(1);
    expect(asked.told).toEqual([{ held: undefined, index: -1, code: 'too_large' }]);
    expect(model.done[Kind.acquire]).toBe(0);
    const none = a.batch([]);
    clock.advance(1);
    expect(none.told).toEqual([{ held: [], index: -1, code: undefined }]);
  });
});

describe('when it goes wrong', () => {
  test('an acquire of unknown outcome: nothing is kept', () => {
    const of = names(4);
    once(Kind.acquire, { delayMs: 1, loseAnswer: 'unknown' }, 2);
    const asked = take(of);
    expect(asked.told).toEqual([{ held: undefined, index: -1, code: 'shard_unavailable' }]);
    expect(held(of)).toEqual(of.map(() => false));
    expectNothingLeft();
  });

  test('a slot that nobody serves: the others are free again', () => {
    const of = names(4);
    model.downUntil[slotOf(of[3])] = clock.now() + 60_000;
    const asked = take(of);
    clock.advance(3_000);
    expect(asked.told).toEqual([{ held: undefined, index: -1, code: 'moving' }]);
    expect(model.claims.size).toBe(0);
    clock.advance(60_000);
    expectNothingLeft();
  });

  test('a confirm whose answer is lost: a verify tells that it was one', () => {
    const of = names(4);
    once(Kind.confirm, { delayMs: 1, loseAnswer: 'unknown' }, 1);
    const asked = take(of);
    clock.advance(100);
    expect(asked.told[0].held).toHaveLength(4);
    expect(held(of)).toEqual(of.map(() => true));
    for (const [i, name] of of.entries()) {
      const left = model.claims.get(lockKey(name))!.promisedUntil - clock.now();
      expect(asked.told[0].held![i].expiresInMs).toBeLessThan(left + 160);
    }
  });

  test('a slot whose pending claims are gone: what was confirmed is released', () => {
    const of = names(4);
    model.fate = (op) => {
      if (op.kind === Kind.confirm && op.slot === slotOf(of[2])) loseClaims(op.slot);
      return { delayMs: 1 };
    };
    const asked = take(of);
    expect(asked.told).toEqual([{ held: undefined, index: -1, code: 'shard_unavailable' }]);
    expect(model.claims.size).toBe(0);
    expectNothingLeft();
  });

  test('a confirm that was none, and now there is nothing to confirm: nothing is kept', () => {
    const of = names(4);
    once(Kind.confirm, { delayMs: 1, drop: true }, 1);
    const { fate } = model;
    let isGone = false;
    model.fate = (op) => {
      const its = fate(op);
      if (its.drop) isGone = true;
      if (its.drop) loseClaims(op.slot);
      return its;
    };
    const asked = take(of);
    clock.advance(100);
    expect(isGone).toBe(true);
    expect(asked.told).toEqual([{ held: undefined, index: -1, code: 'shard_unavailable' }]);
    expect(model.claims.size).toBe(0);
    expectNothingLeft();
  });

  test('nobody tells whether what was confirmed could be taken back: unknown', () => {
    const of = names(4);
    let isLost = false;
    model.fate = (op) => {
      if (op.kind === Kind.confirm && op.slot === slotOf(of[2]) && !isLost) {
        isLost = true;
        loseClaims(op.slot);
      }
      return { delayMs: 1, drop: op.kind === Kind.release };
    };
    const asked = take(of);
    clock.advance(3_000);
    expect(asked.told).toEqual([{ held: undefined, index: -1, code: 'outcome_unknown' }]);
    expect(held(of)).toEqual([true, true, false, true]);
    expectNothingLeft();
  });

  test('a confirm that cannot be settled: unknown, and a repeat gets all', () => {
    const of = names(4);
    model.fate = (op) => ({ delayMs: 1, drop: op.kind === Kind.confirm && op.slot === slotOf(of[1]) });
    const asked = take(of);
    clock.advance(3_000);
    expect(asked.told).toEqual([{ held: undefined, index: -1, code: 'outcome_unknown' }]);
    expect(held(of)).toEqual([true, false, true, true]);
    model.fate = () => ({ delayMs: 1 });
    const early = a.batch(repeat(of));
    clock.advance(100);
    expect(early.told).toMatchObject([{ index: 1, code: 'lock_held' }]);
    expect(held(of)).toEqual([true, false, true, true]);
    clock.advance(LIMITS.pendingMs);
    const again = a.batch(repeat(of));
    clock.advance(100);
    expect(again.told[0].held).toHaveLength(4);
    expect(held(of)).toEqual(of.map(() => true));
  });

  test('its process dies half-way: pending claims end by themselves', () => {
    const of = names(6);
    let left = 4;
    model.fate = () => {
      if (left-- === 0) a.die();
      return { delayMs: 1 };
    };
    take(of);
    expect(model.claims.size).toBeGreaterThan(0);
    expect(held(of)).toEqual(of.map(() => false));
    clock.advance(LIMITS.pendingMs + 100);
    model.expire();
    expect(model.claims.size + model.stubs.size).toBe(0);
  });

  test.each([
    [0, 0],
    [2, 0],
    [4, 0],
    [5, 6],
  ])('its client is gone after %d ms: %d of its claims stand', (ms, count) => {
    const of = names(6);
    const batch = a.atomic.begin({ held: lose, failed: lose, refused: lose })!;
    for (const op of acquires(of)) {
      op.receivedAt = clock.now();
      batch.add(op);
    }
    batch.submit();
    clock.advance(ms);
    batch.leave();
    clock.advance(100);
    expect(model.claims.size).toBe(count);
    expectNothingLeft();
  });
});

const lose = (): void => expect.unreachable();
