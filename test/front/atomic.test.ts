import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind, type Op } from '../../src/op.ts';
import {
  acquireOp,
  type AskedBatch,
  freshToken,
  homeKey,
  lockKey,
  ModelProcess,
  stubKey,
} from './coordinator-rig.ts';
import { type Fate, ModelSlots } from './model-slots.ts';
import { SteppedClock } from './stepped-clock.ts';

const TTL_MS = 30_000;
const S = 'session-0123456789abcdef';

let clock: SteppedClock;
let model: ModelSlots;
let a: ModelProcess;
let tokens: string[];

beforeEach(() => {
  clock = new SteppedClock();
  model = new ModelSlots(clock);
  a = new ModelProcess(model);
  tokens = [];
});

function slotOf(name: string): number {
  const key = Buffer.from(lockKey(name));
  return model.slotOfKey(key, 0, key.length);
}

/** Locks of as many slots, of all three owners, in the order in which these are asked. */
function names(count: number): string[] {
  const all = Array.from({ length: 200 }, (_, i) => `lock-${i}`);
  const bySlot = new Map(all.map((name) => [slotOf(name), name]));
  const slots = Array.from({ length: count }, (_, slot) => slot);
  return slots.sort((x, y) => (x % 3) - (y % 3) || x - y).map((slot) => bySlot.get(slot)!);
}

/** Acquires of these locks, with fresh tokens. */
function acquires(of: readonly string[], session = ''): Op[] {
  tokens = of.map(() => freshToken());
  return repeat(of, session);
}

/** The same with the tokens of the last ones. */
const repeat = (of: readonly string[], session = ''): Op[] =>
  of.map((name, i) => acquireOp(name, tokens[i], session, session === '' ? TTL_MS : 0));

/** Which of these locks are really held by the tokens of the last batch. */
const held = (of: readonly string[]): boolean[] =>
  of.map((name, i) => {
    const claim = model.claims.get(lockKey(name));
    return claim?.token === tokens[i] && claim.pending === undefined;
  });

function take(of: readonly string[], session = ''): AskedBatch {
  const asked = a.batch(acquires(of, session));
  expect(asked.told).toEqual([]);
  clock.advance(60);
  return asked;
}

function takeSingle(name: string): void {
  const op = acquireOp(name, freshToken(), '', 60_000);
  op.receivedAt = clock.now();
  const refuse = (): void => {};
  model.submit(op, slotOf(name), { answers() {}, refuse });
  clock.advance(5);
}

/** The next op of `kind` has this fate. */
function once(kind: number, fate: Fate, skip = 0): void {
  let left = skip;
  model.fate = (op) => (op.kind === kind && left-- === 0 ? fate : { delayMs: 1 });
}

/** All that is in a slot is gone, as after its end. */
function loseClaims(slot: number): void {
  for (const [key, stub] of model.stubs) if (stub.slot === slot) model.stubs.delete(key);
  for (const [key, claim] of model.claims) if (claim.slot === slot) model.claims.delete(key);
}

function expectNothingLeft(): void {
  expect(model.stubs.size).toBe(0);
  expect(a.connections.open).toBe(0);
  expect(a.calls.size).toBe(0);
}

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

  test('may not name a lock twice, nor be too large', () => {
    const of = names(3);
    const twice = take([...of, of[1], of[2]]);
    expect(twice.told).toEqual([{ held: undefined, index: 3, code: 'bad_request' }]);
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

describe('in a session', () => {
  beforeEach(() => {
    const opened = a.session(Kind.sessionOpen, S, TTL_MS);
    clock.advance(10);
    expect(opened.told).toHaveLength(1);
  });

  test('its claims hang on it, in slots that are active', () => {
    const of = names(6);
    const asked = take(of, S);
    const got = asked.told[0].held!;
    expect(held(of)).toEqual(of.map(() => true));
    for (const [i, name] of of.entries()) {
      const stub = model.stubs.get(stubKey(slotOf(name), S))!;
      expect(model.claims.get(lockKey(name))!.session).toBe(stub);
      expect(model.sessions.get(homeKey(S))!.slots.get(slotOf(name))).toBe(true);
      expect(got[i].expiresInMs).toBeGreaterThan(TTL_MS - 100);
      expect(got[i].expiresInMs).toBeLessThanOrEqual(stub.promisedUntil - clock.now() + 60);
    }
    const ended = a.session(Kind.sessionEnd, S);
    clock.advance(20);
    expect(ended.told).toMatchObject([{ status: 204 }]);
    expect(model.claims.size).toBe(0);
  });

  test('does not promise more than an older stub has', () => {
    const [name, ...others] = names(3);
    take([name], S);
    clock.advance(5_000);
    const second = Array.from({ length: 500 }, (_, i) => `x-${i}`).find((x) => slotOf(x) === slotOf(name))!;
    const asked = take([second, ...others], S);
    const got = asked.told[0].held!;
    expect(got[0].expiresInMs).toBeLessThanOrEqual(TTL_MS - 5_000);
    expect(got[1].expiresInMs).toBeGreaterThan(TTL_MS - 100);
  });

  test('has ended: nothing is taken', () => {
    model.sessions.clear();
    const asked = take(names(3), S);
    expect(asked.told).toEqual([{ held: undefined, index: 0, code: 'session_ended' }]);
    expect(model.done[Kind.acquire]).toBe(0);
  });

  test('ends meanwhile: nothing is kept', () => {
    model.fate = (op) => {
      if (op.kind === Kind.sessionActivate) model.sessions.clear();
      return { delayMs: 1 };
    };
    const of = names(3);
    const asked = take(of, S);
    expect(asked.told).toMatchObject([{ code: 'session_ended' }]);
    expect(model.claims.size).toBe(0);
  });
});
