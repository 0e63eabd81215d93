import { beforeEach, describe, expect, test } from 'vitest';
import { Again, Calls, type Reply } from '../../src/front/calls.ts';
import { Connections } from '../../src/front/connections.ts';
import { CODES, codeOfWire, type ErrorCode } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind, type Op } from '../../src/op.ts';
import { Answer, AnswerBytes, writeAnswer } from '../../src/protocol/answer.ts';
import { sessionOp } from './coordinator-rig.ts';
import { SteppedClock } from './stepped-clock.ts';

const TIMEOUT_MS = 2_000;

interface Sent {
  readonly connection: number;
  readonly id: number;
  readonly slot: number;
  readonly at: number;
  readonly key: string;
}

let clock: SteppedClock;
let connections: Connections;
let calls: Calls;
/** Attempts, in their order. */
let sent: Sent[];
/** Of the call: codes, '' = success, with a `!` where an earlier attempt may have taken effect. */
let told: string[];
/** Refused at once, as routing does it. */
let refuseWith: ErrorCode | undefined;

beforeEach(() => {
  clock = new SteppedClock();
  connections = new Connections((run) => void clock.after(0, run));
  sent = [];
  told = [];
  refuseWith = undefined;
  calls = new Calls({
    connections,
    clock,
    requestTimeoutMs: TIMEOUT_MS,
    slots: {
      slotOfKey: () => 7,
      submitAt(op, slot) {
        const { connection, id } = op;
        const key = Buffer.from(op.bytes.subarray(op.keyAt, op.keyAt + op.keyLength)).toString('latin1');
        sent.push({ connection, id, slot, at: clock.now(), key });
        if (refuseWith !== undefined) connections.refuse(connection, id, refuseWith);
      },
      map: { at: () => undefined },
    },
  });
});

function call(again: Again, slot?: number): void {
  const op: Op = sessionOp(Kind.sessionRenew, 'some-session-id-0123456789');
  op.receivedAt = clock.now();
  const done = ({ answer, repeated }: Reply): void => {
    told.push((codeOfWire(answer.code) ?? '') + (repeated ? '!' : ''));
  };
  if (slot === undefined) calls.call(op, again, done);
  else calls.callAt(slot, op, again, done);
  op.bytes.fill(0);
}

function answer({ connection, id }: Sent, code?: ErrorCode, status = 200): void {
  const one = new Answer();
  one.id = id;
  one.status = code === undefined ? status : CODES[code].status;
  one.code = code === undefined ? 0 : CODES[code].wire;
  const out = new AnswerBytes();
  writeAnswer(out, one);
  connections.deliver(connection, out, 0, out.length);
}

const last = (): Sent => sent.at(-1)!;

function expectSettled(): void {
  expect(calls.size).toBe(0);
  expect(connections.open).toBe(0);
}

describe('a call', () => {
  test('goes to the slot of its key, or to the one that is named', () => {
    call(Again.never);
    call(Again.never, 12);
    expect(sent.map(({ slot }) => slot)).toEqual([7, 12]);
    expect(sent[0].id).not.toBe(sent[1].id);
    expect(connections.open).toBe(2);
    answer(sent[1]);
    answer(sent[0], 'session_ended');
    answer(sent[0]);
    expect(told).toEqual(['', 'session_ended']);
    expectSettled();
  });

  test('is not settled by what is not final', () => {
    call(Again.never);
    answer(last(), undefined, 100);
    expect(told).toEqual([]);
    answer(last());
    expect(told).toEqual(['']);
  });

  test('is never answered before it returns', () => {
    refuseWith = 'overloaded';
    call(Again.unknown);
    expect(told).toEqual([]);
    clock.advance(0);
    expect(told).toEqual(['overloaded']);
    expectSettled();
  });

  test.each([
    [Again.never, []],
    [Again.unserved, ['moving', 'shard_unavailable']],
    [Again.unknown, ['moving', 'shard_unavailable', 'outcome_unknown']],
    [Again.shed, ['moving', 'shard_unavailable', 'outcome_unknown', 'overloaded']],
  ] as const)('at level %d is sent again after %s', (again, codes) => {
    const faults = [
      'moving',
      'shard_unavailable',
      'outcome_unknown',
      'overloaded',
      'internal',
      'lock_held',
    ] as const;
    for (const code of faults) {
      const before = sent.length;
      call(again);
      answer(last(), code);
      clock.advance(LIMITS.resumeMs);
      const isAgain = (codes as readonly string[]).includes(code);
      expect(sent.length - before).toBe(isAgain ? 2 : 1);
      if (isAgain) {
        expect(last().key).toBe(sent[before].key);
        answer(last());
      }
      expect(told.pop()).toBe(!isAgain ? code : code === 'outcome_unknown' ? '!' : '');
    }
    expectSettled();
  });

  test('is sent again ever more slowly until its time is up', () => {
    call(Again.unserved);
    for (let ms = 0; ms < TIMEOUT_MS && told.length === 0; ms += 10) {
      if (last().at === clock.now()) answer(last(), 'moving');
      clock.advance(10);
    }
    const waits = sent.slice(1).map(({ at }, i) => at - sent[i].at);
    expect(waits.slice(0, 5)).toEqual([20, 40, 80, 160, 320]);
    expect(Math.max(...waits)).toBe(LIMITS.resumeMsMax);
    expect(last().at - sent[0].at).toBeLessThan(TIMEOUT_MS);
    expect(told).toEqual(['moving']);
    expectSettled();
  });

  test('stays in doubt when the repeats come to nothing', () => {
    call(Again.unknown);
    answer(last(), 'outcome_unknown');
    clock.advance(LIMITS.resumeMs);
    // Late, and of an attempt that was given up.
    answer(sent[0]);
    expect(told).toEqual([]);
    clock.advance(TIMEOUT_MS - LIMITS.resumeMs - 5);
    answer(last(), 'moving');
    expect(told).toEqual(['outcome_unknown!']);
    expectSettled();
  });

  test('that a wedged lane leaves unanswered is of unknown outcome', () => {
    call(Again.shed);
    clock.advance(TIMEOUT_MS + 500);
    connections.sweep(clock.now(), clock.now() - TIMEOUT_MS - 1_000);
    expect(told).toEqual([]);
    clock.advance(600);
    connections.sweep(clock.now(), clock.now() - TIMEOUT_MS - 1_000);
    expect(told).toEqual(['outcome_unknown']);
    answer(last());
    expect(told).toHaveLength(1);
    expectSettled();
  });

  test('ends with the process, and no other begins', () => {
    call(Again.shed);
    call(Again.shed);
    answer(last(), 'moving');
    connections.shutDown();
    expect(told).toEqual(['outcome_unknown', 'outcome_unknown']);
    call(Again.shed);
    expect(calls.full(1)).toBe(true);
    clock.advance(1_000);
    expect(told.slice(2)).toEqual(['draining']);
    expect(sent).toHaveLength(2);
    expectSettled();
  });
});
