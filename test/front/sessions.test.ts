import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { Section } from '../../src/protocol/answer.ts';
import type { Target } from '../../src/front/coordination.ts';
import { freshToken, homeKey, lockKey, ModelProcess, stubKey } from './coordinator-rig.ts';
import { type Fate, ModelSlots } from './model-slots.ts';
import { SteppedClock } from './stepped-clock.ts';

const TTL_MS = 5_000;
const S = 'session-0123456789abcdef';

let clock: SteppedClock;
let model: ModelSlots;
let a: ModelProcess;

beforeEach(() => {
  clock = new SteppedClock();
  model = new ModelSlots(clock);
  a = new ModelProcess(model);
});

/** The slot of a lock. */
function slotOf(name: string): number {
  const key = Buffer.from(lockKey(name));
  return model.slotOfKey(key, 0, key.length);
}

function homeSlot(): number {
  const key = Buffer.from(homeKey(S));
  return model.slotOfKey(key, 0, key.length);
}

/** A name in a slot that is neither the home nor one of `others`. */
function nameAway(others: readonly string[] = []): string {
  const taken = [homeSlot(), ...others.map(slotOf)];
  for (let i = 0; ; i++) if (!taken.includes(slotOf(`away-${i}`))) return `away-${i}`;
}

function open(): void {
  const asked = a.session(Kind.sessionOpen, S, TTL_MS);
  clock.advance(10);
  expect(asked.told).toMatchObject([{ status: 201, ttlMs: TTL_MS }]);
}

function hold(name: string, process = a): string {
  const token = freshToken();
  const asked = process.acquire(name, token, S);
  clock.advance(20);
  expect(asked.told).toMatchObject([{ status: 201, ttlMs: TTL_MS }]);
  return token;
}

const isOf = (kind: number) => (op: Op) => op.kind === kind;

/** The next op that `test` says yes to has this fate. */
function once(test: (op: Op) => boolean, fate: Fate): void {
  let isOver = false;
  model.fate = (op) => {
    if (isOver || !test(op)) return { delayMs: 1 };
    isOver = true;
    return fate;
  };
}

function expectQuiet(...processes: ModelProcess[]): void {
  for (const { connections, calls } of processes) {
    expect(connections.open).toBe(0);
    expect(calls.size).toBe(0);
  }
}

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
    model = new ModelSlots(clock, LIMITS.slots);
    a = new ModelProcess(model);
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
  test('ends the session everywhere when an active stub is missing', () => {
    open();
    const lost = nameAway();
    hold(lost);
    hold(nameAway([lost]));
    model.stubs.delete(stubKey(slotOf(lost), S));
    const renewed = a.session(Kind.sessionRenew, S);
    clock.advance(20);
    expect(renewed.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
    expect(model.stubs.size + model.sessions.size).toBe(0);
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

describe('an acquire in a session', () => {
  test.each([
    ['an ended one', () => {}],
    ['one that ends between join and activation', () => open()],
  ])('%s: session_ended, and nothing is left', (what, begin) => {
    begin();
    const asked = a.acquire(nameAway(), freshToken(), S);
    if (what !== 'an ended one') model.fate = (op) => endOn(op, Kind.acquire);
    clock.advance(20);
    expect(asked.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
    expect(model.claims.size + model.stubs.size).toBe(0);
    expectQuiet(a);
  });

  test('asks its home again when the stub that it knew of is gone', () => {
    open();
    const name = nameAway();
    hold(name);
    model.stubs.delete(stubKey(slotOf(name), S));
    model.claims.clear();
    // Another process has opened the same session anew.
    model.sessions.get(homeKey(S))!.slots.clear();
    hold(name);
    expect(model.done[Kind.sessionJoin]).toBe(2);
  });

  test('says session_ended when home counts on a stub that is gone', () => {
    open();
    const name = nameAway();
    hold(name);
    model.stubs.delete(stubKey(slotOf(name), S));
    const asked = a.acquire(name, freshToken(), S);
    clock.advance(20);
    expect(asked.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
  });

  test('is nothing that has happened when its home cannot be asked', () => {
    open();
    model.fate = (op) => ({ delayMs: 1, drop: op.kind === Kind.sessionJoin });
    const asked = a.acquire(nameAway(), freshToken(), S);
    clock.advance(3_500);
    expect(asked.told).toMatchObject([{ status: 503, code: 'shard_unavailable' }]);
    expect(model.done[Kind.acquire]).toBe(0);
  });

  test('may have happened when it cannot be activated, and a repeat completes it', () => {
    open();
    const name = nameAway();
    const token = freshToken();
    model.fate = (op) => {
      if (op.kind === Kind.acquire) model.downUntil[homeSlot()] = clock.now() + 2_500;
      return { delayMs: 1 };
    };
    const asked = a.acquire(name, token, S);
    clock.advance(2_600);
    expect(asked.told).toMatchObject([{ status: 504, code: 'outcome_unknown' }]);
    model.fate = () => ({ delayMs: 1 });
    const again = a.acquire(name, token, S);
    clock.advance(20);
    expect(again.told).toMatchObject([{ status: 200 }]);
    expect(model.sessions.get(homeKey(S))!.slots.get(slotOf(name))).toBe(true);
  });

  test('counts the time of its last step', () => {
    open();
    model.fate = (op) => ({ delayMs: op.kind === Kind.sessionActivate ? 700 : 1 });
    const asked = a.acquire(nameAway(), freshToken(), S);
    clock.advance(2_000);
    const [{ status, waitedMs, expiresInMs }] = asked.told;
    expect(status).toBe(201);
    expect(waitedMs).toBeGreaterThan(1_000);
    expect(waitedMs + expiresInMs).toBeLessThanOrEqual(TTL_MS + 2);
    expect(waitedMs + expiresInMs).toBeGreaterThan(TTL_MS - 2);
  });

  test('passes a refusal on', () => {
    open();
    const name = nameAway();
    hold(name);
    const asked = a.acquire(name, freshToken(), S);
    clock.advance(20);
    expect(asked.told).toMatchObject([{ status: 409, code: 'lock_held' }]);
  });
});

describe('a wait in a session', () => {
  /** What became of the last wait. */
  let steps: string[];
  let waits: Target;
  let waiting: Op;

  beforeEach(() => {
    steps = [];
    a.standing = {
      submit(op, target) {
        const { waitMs, flags, ttlMs, namespaceLength } = op;
        steps.push(`${waitMs} ${(flags & OpFlag.newStub) !== 0} ${ttlMs} ${namespaceLength}`);
        waits = target;
        waiting = Object.assign(new Op(), op, { bytes: op.bytes.slice(), waitMs: 0 });
        return { cancel: () => steps.push('cancel'), leave: () => steps.push('leave') };
      },
    };
    open();
  });

  /** It gets what a try would get now. */
  function serve(name: string): void {
    const refuse = (): void => {};
    model.requestTimeoutMs = 600_000;
    model.submit(waiting, slotOf(name), { answers: (_, ...answer) => waits.final(...answer), refuse });
    clock.advance(20);
  }

  test('stands after the join, and is told after the activation', () => {
    const name = nameAway();
    const asked = a.acquire(name, freshToken(), S, 60_000);
    clock.advance(20);
    expect(steps).toEqual([`60000 true ${TTL_MS} 3`]);
    clock.advance(2_000);
    model.fate = (op) => ({ delayMs: op.kind === Kind.sessionActivate ? 1_500 : 1 });
    serve(name);
    expect(asked.told).toEqual([]);
    clock.advance(2_300);
    const [{ status, waitedMs, expiresInMs }] = asked.told;
    expect(status).toBe(201);
    expect(waitedMs).toBeGreaterThan(4_000);
    expect(expiresInMs).toBeGreaterThan(TTL_MS - 2_400);
    expect(expiresInMs).toBeLessThanOrEqual(TTL_MS - 2_250);
    expectQuiet(a);
  });

  test('passes on how it ended without the lock', () => {
    const asked = a.acquire(nameAway(), freshToken(), S, 60_000);
    clock.advance(20);
    waits.refused('wait_timeout');
    expect(asked.told).toMatchObject([{ status: 409, code: 'wait_timeout' }]);
  });

  test('is taken back when the session ended meanwhile', () => {
    const name = nameAway();
    const asked = a.acquire(name, freshToken(), S, 60_000);
    clock.advance(20);
    model.sessions.clear();
    serve(name);
    expect(asked.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
    expect(model.claims.size + model.stubs.size).toBe(0);
  });

  test('is cancelled before and after the join', () => {
    const early = a.acquire(nameAway(), freshToken(), S, 60_000);
    early.handle!.cancel();
    expect(early.told).toEqual([]);
    clock.advance(20);
    expect(early.told).toMatchObject([{ code: 'cancelled' }]);
    expect(steps).toEqual([]);
    const late = a.acquire(nameAway(), freshToken(), S, 60_000);
    clock.advance(20);
    late.handle!.cancel();
    waits.refused('cancelled');
    expect(late.told).toMatchObject([{ code: 'cancelled' }]);
    expect(steps.slice(1)).toEqual(['cancel']);
  });

  test('ends with its client', () => {
    const early = a.acquire(nameAway(), freshToken(), S, 60_000);
    early.handle!.leave();
    const late = a.acquire(nameAway(), freshToken(), S, 60_000);
    clock.advance(20);
    late.handle!.leave();
    waits.refused('cancelled');
    clock.advance(20);
    expect(steps.slice(1)).toEqual(['leave']);
    expect([...early.told, ...late.told]).toEqual([]);
    expectQuiet(a);
  });
});

/** The session ends right before the first op of `kind` is carried out. */
function endOn(op: Op, kind: number): Fate {
  if (op.kind === kind) model.sessions.delete(homeKey(S));
  return { delayMs: 1 };
}
