import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind } from '../../src/op.ts';
import { Section } from '../../src/protocol/answer.ts';
import { freshToken, homeKey, lockKey, ModelProcess, stubKey } from './coordinator-rig.ts';
import {
  a,
  begin,
  clock,
  expectQuiet,
  hold,
  isOf,
  model,
  nameAway,
  once,
  open,
  S,
  slotOf,
  TTL_MS,
} from './session-rig.ts';

beforeEach(() => begin());

describe('a session', () => {
  test('renews and ends all its locks with one request', () => {
    open();
    const names = Array.from({ length: 40 }, (_, i) => `lock-${i}`);
    names.forEach((name) => hold(name));
    clock.advance(3_000);
    const renewed = a.session(Kind.sessionRenew, S);
    clock.advance(20);
    expect(renewed.told).toMatchObject([{ status: 200, code: undefined, sections: Section.claim }]);
    expect(renewed.told[0].expiresInMs).toBeGreaterThan(TTL_MS - 10);
    clock.advance(4_000);
    expect(names.every((name) => model.claims.has(lockKey(name)))).toBe(true);
    const ended = a.session(Kind.sessionEnd, S);
    clock.advance(20);
    expect(ended.told).toMatchObject([{ status: 204, sections: 0 }]);
    expect(model.claims.size + model.stubs.size + model.sessions.size).toBe(0);
    for (const kind of [Kind.sessionRenew, Kind.sessionEnd, Kind.sessionGet]) {
      const late = a.session(kind, S);
      clock.advance(20);
      expect(late.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
    }
    expectQuiet(a);
  });

  test('shows its own time, and nothing that is not for clients', () => {
    open();
    hold('one');
    clock.advance(1_000);
    const got = a.session(Kind.sessionGet, S);
    clock.advance(10);
    expect(got.told).toMatchObject([{ status: 200, sections: Section.claim }]);
    expect(got.told[0].expiresInMs).toBeLessThan(TTL_MS - 1_000);
  });

  test('is shown also between its promise and its end', () => {
    open();
    model.sessions.get(homeKey(S))!.promisedUntil = clock.now();
    const got = a.session(Kind.sessionGet, S);
    clock.advance(10);
    expect(got.told).toMatchObject([{ status: 200, expiresInMs: 0 }]);
  });

  test('joins a slot once, and its locks end with it when nobody renews it', () => {
    open();
    const token = hold('one');
    const joins = model.done[Kind.sessionJoin];
    expect([joins, model.done[Kind.sessionActivate]]).toEqual([1, 1]);
    expect(a.acquire('one', token, S).told).toEqual([]);
    clock.advance(10);
    expect(model.done[Kind.sessionJoin]).toBe(joins);
    clock.advance(TTL_MS + 1_000);
    model.expire();
    expect(model.claims.size + model.stubs.size + model.sessions.size).toBe(0);
  });

  test('is served by any process', () => {
    const b = new ModelProcess(model);
    open();
    const name = nameAway();
    const token = hold(name, b);
    expect(hold(nameAway([name]))).not.toBe(token);
    const again = a.acquire(name, token, S);
    clock.advance(20);
    expect(again.told).toMatchObject([{ status: 200 }]);
    expectQuiet(a, b);
  });

  test('opens once when the first answer is lost, and says so', () => {
    once(isOf(Kind.sessionOpen), { delayMs: 1, loseAnswer: 'unknown' });
    const asked = a.session(Kind.sessionOpen, S, TTL_MS);
    clock.advance(100);
    expect(asked.told).toMatchObject([{ status: 201 }]);
    const again = a.session(Kind.sessionOpen, S, TTL_MS);
    clock.advance(100);
    expect(again.told).toMatchObject([{ status: 200 }]);
  });

  test('many slots are renewed with a bounded number of ops under way', () => {
    begin(LIMITS.slots);
    open();
    const tokens = Array.from({ length: 20_000 }, (_, i) => a.acquire(`lock-${i}`, freshToken(), S));
    clock.advance(200);
    expect(tokens.every(({ told }) => told.length === 1 && told[0].status === 201)).toBe(true);
    const slots = model.stubs.size;
    expect(slots).toBeGreaterThan(4_000);
    model.underWayMax = 0;
    const renewed = a.session(Kind.sessionRenew, S);
    clock.advance(200);
    expect(renewed.told).toMatchObject([{ status: 200 }]);
    expect(model.done[Kind.stubRenew]).toBe(slots);
    expect(model.underWayMax).toBe(LIMITS.fanOutMax);
    const ended = a.session(Kind.sessionEnd, S);
    clock.advance(200);
    expect(ended.told).toMatchObject([{ status: 204 }]);
    expect(model.claims.size).toBe(0);
    expectQuiet(a);
  });
});

describe('a keep-alive', () => {
  test('ends the session when an active stub is missing, and lets the others run out: they were promised', () => {
    open();
    const lost = nameAway();
    hold(lost);
    const other = nameAway([lost]);
    hold(other);
    model.stubs.delete(stubKey(slotOf(lost), S));
    const renewed = a.session(Kind.sessionRenew, S);
    clock.advance(20);
    expect(renewed.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
    expect(model.sessions.size).toBe(0);
    expect([...model.stubs.keys()]).toEqual([stubKey(slotOf(other), S)]);
    expect(a.session(Kind.sessionRenew, S).told).toEqual([]);
    clock.advance(20);
    expect(model.stubs.size).toBe(1);
  });

  test('does not mind a pending slot without a stub', () => {
    open();
    model.sessions.get(homeKey(S))!.slots.set(slotOf(nameAway()), false);
    const renewed = a.session(Kind.sessionRenew, S);
    clock.advance(20);
    expect(renewed.told).toMatchObject([{ status: 200 }]);
  });

  test('says 503 with the earliest end when a slot cannot be asked', () => {
    open();
    const name = nameAway();
    hold(name);
    clock.advance(1_000);
    expect(a.session(Kind.sessionRenew, S).told).toEqual([]);
    clock.advance(1_000);
    model.downUntil[slotOf(name)] = clock.now() + 60_000;
    const stub = model.stubs.get(stubKey(slotOf(name), S))!;
    const renewed = a.session(Kind.sessionRenew, S);
    clock.advance(3_500);
    expect(renewed.told).toMatchObject([{ status: 503, code: 'shard_unavailable' }]);
    const [{ expiresInMs, sections }] = renewed.told;
    expect(sections).toBe(Section.claim | Section.queue);
    // It was told at the time-out of 2 s, when 2 of the 5 s were left.
    expect(expiresInMs).toBeLessThanOrEqual(stub.promisedUntil - (clock.now() - 1_500));
    expect(expiresInMs).toBeGreaterThan(1_900);
  });

  test('promises nothing of a slot that this process knows nothing of', () => {
    open();
    const name = nameAway();
    hold(name);
    model.downUntil[slotOf(name)] = clock.now() + 60_000;
    const b = new ModelProcess(model);
    const renewed = b.session(Kind.sessionRenew, S);
    clock.advance(3_500);
    expect(renewed.told).toMatchObject([{ code: 'shard_unavailable', expiresInMs: 0 }]);
  });

  test('gets over a stub whose answer is lost', () => {
    open();
    hold(nameAway());
    once(isOf(Kind.stubRenew), { delayMs: 1, loseAnswer: 'unknown' });
    const renewed = a.session(Kind.sessionRenew, S);
    clock.advance(200);
    expect(renewed.told).toMatchObject([{ status: 200 }]);
    expect(model.done[Kind.stubRenew]).toBe(2);
  });

  test('lets no more locks hang on the session than it may have', () => {
    open();
    const name = nameAway();
    hold(name);
    const { claims } = model.stubs.get(stubKey(slotOf(name), S))!;
    Object.defineProperty(claims, 'size', { value: LIMITS.sessionLocksMax, configurable: true });
    a.session(Kind.sessionRenew, S);
    clock.advance(20);
    const refused = a.acquire(nameAway([name]), freshToken(), S);
    clock.advance(20);
    expect(refused.told).toMatchObject([{ status: 429, code: 'quota_exceeded' }]);
    Object.defineProperty(claims, 'size', { value: LIMITS.sessionLocksMax - 1 });
    a.session(Kind.sessionRenew, S);
    clock.advance(20);
    hold(nameAway([name]));
  });
});

describe('the end of a session', () => {
  test('is one also when its answer is lost, and reaches all slots', () => {
    open();
    hold(nameAway());
    once(isOf(Kind.sessionEnd), { delayMs: 1, loseAnswer: 'unknown' });
    const ended = a.session(Kind.sessionEnd, S);
    clock.advance(200);
    expect(ended.told).toMatchObject([{ status: 204 }]);
    expect(model.claims.size + model.stubs.size).toBe(0);
  });

  test('reaches slots that were joined after it had begun', () => {
    open();
    const name = nameAway();
    model.fate = (op) => {
      // Right before the end: an acquire that is all but done.
      if (op.kind === Kind.sessionEnd) {
        model.fate = () => ({ delayMs: 0 });
        a.acquire(name, freshToken(), S);
        clock.advance(0);
        return { delayMs: 1 };
      }
      return { delayMs: 0 };
    };
    const ended = a.session(Kind.sessionEnd, S);
    clock.advance(200);
    expect(ended.told).toMatchObject([{ status: 204 }]);
    expect(model.claims.size + model.stubs.size).toBe(0);
  });

  test('is told when the time is up, and goes on behind it', () => {
    open();
    const name = nameAway();
    hold(name);
    model.downUntil[slotOf(name)] = clock.now() + 2_001;
    model.stubs.get(stubKey(slotOf(name), S))!.promisedUntil += 60_000;
    const ended = a.session(Kind.sessionEnd, S);
    clock.advance(1_990);
    expect(ended.told).toEqual([]);
    clock.advance(10);
    expect(ended.told).toMatchObject([{ status: 204 }]);
    expect(model.claims.size).toBe(1);
    clock.advance(20);
    expect(model.claims.size).toBe(0);
    expectQuiet(a);
  });
});
