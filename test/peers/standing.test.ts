/** Waits and watches over a link: forwards that have answers before their last one. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind, OpFlag } from '../../src/op.ts';
import { NO_FORWARD } from '../../src/peers/frame.ts';
import { InFlight } from '../../src/peers/in-flight.ts';
import { Event } from '../../src/protocol/answer.ts';
import { MADE, makeOp, Pair, TIMEOUT_MS, type Taken } from './rig.ts';

const UNKNOWN = CODES.outcome_unknown.wire;
const MOVING = CODES.moving.wire;
const WAIT_MS = 60_000;

/** What a front's standing requests are under; each attempt has its own id. */
const waitOf = (id: number, fields = {}) => ({ waitMs: WAIT_MS, attempt: id, connection: 3, ...fields });
const watchOf = (id: number) => ({ kind: Kind.watch, token: '', attempt: id, connection: 3 });

/** One of them, which the owner has taken. */
function standing(pair: Pair, id: number, fields: Parameters<Pair['op']>[1]): Taken {
  pair.sender.forward(pair.op(id, fields));
  pair.run();
  return pair.owner.taken[pair.owner.taken.length - 1];
}

function answers(pair: Pair, taken: Taken, status: number, code = 0): void {
  pair.owner.answer(taken.socket, [taken.id], status, code);
  pair.run();
}

const openAt = ({ owner }: Pair): number => owner.context.connections.open;

describe('a wait', () => {
  test('arrives whole, has interim answers, and one last one', () => {
    const pair = Pair.up();
    const taken = standing(pair, 7, waitOf(7, { slot: 3, mode: 1, origin: 44, flags: OpFlag.events }));
    expect(taken.op).toMatchObject({ waitMs: WAIT_MS, attempt: 7, mode: 1, origin: 44, kind: Kind.acquire });
    expect(taken.flags).toBe(OpFlag.events | OpFlag.forwarded);
    expect([openAt(pair), pair.sender.done]).toEqual([1, []]);
    answers(pair, taken, Event.queued);
    // The owner has decided it: nothing of the slot has to wait for it any more.
    expect([openAt(pair), pair.sender.done]).toEqual([0, [3]]);
    answers(pair, taken, Event.queued);
    expect(pair.sender.peers.report()[0].open).toBe(1);
    answers(pair, taken, 201);
    expect(pair.sender.told.map(({ connection, id, status }) => [connection, id, status])).toEqual([
      [3, 7, Event.queued],
      [3, 7, Event.queued],
      [3, 7, 201],
    ]);
    expect([openAt(pair), pair.sender.done]).toEqual([0, [3]]);
    expect(pair.sender.peers.report()[0].open).toBe(0);
    answers(pair, taken, 201);
    expect(pair.sender.told.length).toBe(3);
  });

  test('that is answered at once is like any other', () => {
    const pair = Pair.up();
    answers(pair, standing(pair, 7, waitOf(7, { slot: 3 })), 201);
    expect([openAt(pair), pair.sender.done]).toEqual([0, [3]]);
    const refused = standing(pair, 8, waitOf(8, { slot: 4 }));
    pair.owner.refuse(refused, 'moving');
    pair.run();
    const returned = standing(pair, 9, waitOf(9, { slot: 5 }));
    pair.owner.disown(returned);
    pair.run();
    expect(pair.sender.returned).toMatchObject([{ id: 9, connection: 3, slot: 5 }]);
    expect([openAt(pair), pair.sender.done]).toEqual([0, [3, 4]]);
    // Nothing stands at the owner that its lanes would have to be told of.
    pair.cable.cut('gone');
    pair.run();
    expect(pair.owner.gone).toEqual([]);
  });

  test('is not given up for its age before its time, and does not close the owner’s socket', () => {
    const pair = Pair.up();
    const taken = standing(pair, 7, waitOf(7));
    answers(pair, taken, Event.queued);
    const told = pair.sender.told.length;
    pair.pass(WAIT_MS);
    expect([pair.sender.told.length, pair.state]).toEqual([told, 'up']);
    pair.pass(2 * TIMEOUT_MS);
    expect(pair.sender.told.slice(told)).toMatchObject([{ id: 7, code: UNKNOWN }]);
    expect(pair.state).toBe('up');
  });

  test('that gets no answer at all is given up like any other', () => {
    const pair = Pair.up();
    standing(pair, 7, waitOf(7, { slot: 3, flags: MADE, token: 'sixteen bytes ..' }));
    pair.pass(TIMEOUT_MS + 700);
    expect(pair.sender.told).toMatchObject([{ id: 7, code: UNKNOWN, token: 'sixteen bytes ..' }]);
    expect(pair.sender.done).toEqual([3]);
  });

  test('whose place takes long to be written does not end the socket over which it came', () => {
    const pair = Pair.up();
    const { cable } = pair;
    const taken = standing(pair, 7, waitOf(7));
    pair.pass(3 * TIMEOUT_MS);
    expect([pair.state, cable.closedWith]).toEqual(['up', undefined]);
    answers(pair, taken, CODES.moving.status, MOVING);
    pair.sender.forward(pair.op(8));
    pair.pass(TIMEOUT_MS + 2_000);
    expect(cable.closedWith?.code).toBe(1011);
  });

  test('is not sent again by routing once it had its place', () => {
    const pair = Pair.up();
    const taken = standing(pair, 7, waitOf(7));
    answers(pair, taken, Event.queued);
    pair.owner.disown(taken);
    pair.run();
    expect(pair.sender.returned).toEqual([]);
    expect(pair.sender.logged.join()).toContain('a refusal that does not fit its forward');
    expect(pair.sender.done).toEqual([0]);
  });
});

test('a watch has no age', () => {
  const pair = Pair.up();
  const taken = standing(pair, 7, watchOf(7));
  answers(pair, taken, Event.changed);
  pair.pass(100_000);
  answers(pair, taken, Event.changed);
  expect(pair.sender.told.map(({ status }) => status)).toEqual([Event.changed, Event.changed]);
  expect(pair.state).toBe('up');
});

describe('when a link breaks', () => {
  test('what stands is of unknown outcome, and done only once', () => {
    const pair = Pair.up();
    answers(pair, standing(pair, 7, waitOf(7, { slot: 1 })), Event.queued);
    answers(pair, standing(pair, 8, watchOf(8)), Event.changed);
    const told = pair.sender.told.length;
    pair.cable.cut('gone');
    expect(pair.sender.told.slice(told)).toMatchObject([
      { id: 7, status: 504, code: UNKNOWN },
      { id: 8, status: 504, code: UNKNOWN },
    ]);
    expect(pair.sender.done).toEqual([1, 0]);
    expect(pair.sender.peers.report()[0].open).toBe(0);
  });

  test('the owner’s lanes hear that the way to the clients is cut, not that they gave up', () => {
    const pair = Pair.up();
    const wait = standing(pair, 7, waitOf(7, { slot: 1 }));
    answers(pair, wait, Event.queued);
    pair.cable.cut('gone');
    pair.run();
    expect(pair.owner.gone).toEqual([wait.connection]);
    expect(openAt(pair)).toBe(0);
    // Also of what nobody has answered yet; and never twice.
    pair.pass(1_000);
    const watch = standing(pair, 8, watchOf(8));
    pair.cable.cut('gone again');
    pair.run();
    expect(pair.owner.gone).toEqual([wait.connection, watch.connection]);
    expect(openAt(pair)).toBe(0);
  });

  test('a newer link of the same process ends what stood over the older one', () => {
    const pair = Pair.up();
    answers(pair, standing(pair, 7, waitOf(7)), Event.queued);
    // The owner has not noticed that it broke.
    const [stale] = pair.owner.sockets;
    pair.cable.holdThere = true;
    pair.sender.peers.update([]);
    pair.sender.peers.close();
    pair.sender.peers.update([{ id: 'b', address: '127.0.0.1:7420' }]);
    pair.run();
    expect(pair.state).toBe('up');
    expect(pair.owner.gone).toEqual([pair.owner.taken[0].connection]);
    expect(stale.process).toBe('');
  });
});

describe('when the owner of the slot is another one', () => {
  test('its last words are waited for a moment, then the outcome is unknown', () => {
    const pair = Pair.up();
    const first = standing(pair, 7, waitOf(7, { slot: 1 }));
    const second = standing(pair, 8, waitOf(8, { slot: 2 }));
    const third = standing(pair, 9, watchOf(9));
    for (const one of [first, second, third]) answers(pair, one, Event.queued);
    const plain = standing(pair, 10, { slot: 1 });
    const told = pair.sender.told.length;
    pair.sender.peers.endStanding('b', new Set([0, 1]));
    pair.sender.peers.endStanding('nobody', new Set([2]));
    answers(pair, first, 503, MOVING);
    pair.pass(LIMITS.termPollMs - 100);
    expect(pair.sender.told.slice(told)).toMatchObject([{ id: 7, code: MOVING }]);
    pair.pass(200);
    expect(pair.sender.told.slice(told)).toMatchObject([{ id: 7 }, { id: 9, code: UNKNOWN }]);
    // What is decided soon is not touched, nor what stands there from now on.
    answers(pair, plain, 201);
    const later = standing(pair, 11, waitOf(11, { slot: 1 }));
    answers(pair, later, Event.queued);
    pair.pass(1_000);
    answers(pair, later, 201);
    answers(pair, second, 201);
    expect(pair.sender.told.slice(told + 2).map(({ id, status }) => [id, status])).toEqual([
      [10, 201],
      [11, Event.queued],
      [11, 201],
      [8, 201],
    ]);
  });
});

test('word of claims finds the socket that wants to hear it, and is nobody’s answer', () => {
  const pair = Pair.up();
  const taken = standing(pair, 7, { origin: 44, flags: OpFlag.events, slot: 3 });
  answers(pair, taken, 201);
  const waiting = standing(pair, 8, waitOf(8));
  answers(pair, waiting, Event.queued);
  const told = pair.sender.told.length;
  for (const event of [Event.expired, Event.forced, Event.sessionEnded, Event.contended]) {
    // Its id says whose it is, also where a forward has the same one.
    for (const origin of [44, waiting.id, 0]) pair.owner.answer(taken.socket, [origin], event);
  }
  pair.run();
  const heard = pair.sender.told.slice(told);
  expect(heard.length).toBe(12);
  for (const { id } of heard) expect(id).toBe(NO_FORWARD);
  expect(new Set(heard.map(({ connection }) => connection))).toEqual(new Set([44, waiting.id, 0]));
  expect([openAt(pair), pair.sender.done]).toEqual([0, [3, 0]]);
  answers(pair, waiting, 201);
  expect(pair.sender.told.at(-1)).toMatchObject({ connection: 3, id: 8, status: 201 });
});

test('what stands takes no room from what is under way', () => {
  const inFlight = new InFlight();
  const wait = makeOp({ waitMs: 5, attempt: 1 });
  for (let i = 0; i < LIMITS.standingMax; i++) inFlight.stand(inFlight.find(inFlight.add(wait)));
  expect([inFlight.full, inFlight.fullOfStanding, inFlight.standing]).toEqual([
    false,
    true,
    LIMITS.standingMax,
  ]);
  for (let i = 0; i < LIMITS.peerRequestsMax; i++)
    expect(inFlight.find(inFlight.add(makeOp()))).toBeGreaterThan(0);
  expect(inFlight.full).toBe(true);
});

test('each forward has one last answer and is done once, whatever happens to it', () => {
  const step = fc.tuple(fc.nat(9), fc.nat(20));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80, size: 'max' }), (steps) => {
      const pair = Pair.up();
      let ids = 0;
      const asked: number[] = [];
      const open: Taken[] = [];
      const accepted = new Set<Taken>();
      const pick = (random: number): Taken | undefined => {
        const fresh = pair.owner.taken.filter((one) => one.kind !== Kind.cancel && !accepted.has(one));
        for (const one of fresh) {
          accepted.add(one);
          open.push(one);
        }
        return open[random % Math.max(1, open.length)];
      };
      for (const [what, random] of steps) {
        const id = ++ids;
        if (what <= 2) {
          const fields = [waitOf(id), watchOf(id), { connection: 3 }][what];
          if (pair.sender.forward(pair.op(id, { ...fields, slot: random % 4 })) === 'taken') asked.push(id);
        } else if (what === 3) pair.run();
        else if (what === 4 && random === 0) pair.cable.cut('gone');
        else if (what === 5) pair.sender.peers.endStanding('b', new Set([random % 4]));
        else if (what === 6) pair.pass(100 * (random % 5));
        else if (what === 7 && random < 2) pair.pass(2_000 + TIMEOUT_MS * random);
        else {
          const taken = pick(random);
          if (taken === undefined) continue;
          const isFinal = what === 9 || !taken.op.isStanding;
          if (isFinal) open.splice(open.indexOf(taken), 1);
          pair.owner.answer(taken.socket, [taken.id], isFinal ? 200 : Event.changed);
        }
      }
      pair.run();
      pair.sender.peers.close();
      const finals = pair.sender.told.filter(({ status }) => status >= 200).map(({ id }) => id);
      const back = pair.sender.returned.map(({ id }) => id);
      expect([...finals, ...back].sort((a, b) => a - b)).toEqual(asked);
      expect(pair.sender.done.length).toBe(finals.length);
    }),
    { numRuns: 300 },
  );
});
