import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind, OpFlag } from '../../src/op.ts';
import { KEY, MADE, OTHER_TERM, Owner, FakeClock, Pair, SILENCE_MS, TERM, TIMEOUT_MS } from './rig.ts';

const UNKNOWN = CODES.outcome_unknown.wire;
const UNAVAILABLE = CODES.shard_unavailable.wire;

const keysOf = (list: readonly { key: string }[]): string[] => list.map(({ key }) => key);

describe('a forward and its answer', () => {
  test('everything that the owner needs arrives; the answer finds the connection that asked', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    expect([pair.state, sender.up]).toEqual(['up', ['b']]);
    const receivedAt = sender.clock.now() - 40.5;
    expect(sender.forward(pair.op(7, { slot: 3, connection: 11, receivedAt, flags: OpFlag.full }))).toBe(
      'taken',
    );
    sender.forward(pair.op(7, { slot: 4, connection: 12, kind: Kind.get, token: '' }), 'b', OTHER_TERM);
    expect(owner.taken).toEqual([]);
    pair.run();
    const now = owner.clock.now();
    expect(owner.taken).toMatchObject([
      {
        term: TERM,
        slot: 3,
        key: 'k7',
        kind: Kind.acquire,
        flags: OpFlag.full | OpFlag.forwarded,
        receivedAt: now - 40,
      },
      { term: OTHER_TERM, slot: 4, key: 'k7', kind: Kind.get, flags: OpFlag.forwarded, receivedAt: now },
    ]);
    expect(owner.context.connections.open).toBe(2);
    const [one, two] = owner.taken;
    owner.answer(one.socket, [two.id, one.id]);
    pair.run();
    expect(sender.told).toMatchObject([
      { connection: 12, id: 7, status: 201 },
      { connection: 11, id: 7, status: 201 },
    ]);
    expect(sender.done).toEqual([4, 3]);
    expect(owner.context.connections.open).toBe(0);
    expect(sender.peers.report()[0].open).toBe(0);
  });

  test('the forwards of one turn make one frame; a large one leaves at once', () => {
    const pair = Pair.up();
    const before = pair.cable.sent.length;
    for (let id = 0; id < 50; id++) pair.sender.forward(pair.op(id));
    expect(pair.cable.sent.length).toBe(before);
    pair.run();
    expect(pair.cable.sent.length).toBe(before + 1);
    for (let id = 0; id < 4_000; id++) pair.sender.forward(pair.op(id, { key: 'x'.repeat(200) }));
    expect(pair.cable.sent.length).toBeGreaterThan(before + 3);
    pair.run();
    expect(pair.owner.taken.length).toBe(4_050);
  });

  test('answers are grouped by connection, in their order', () => {
    const pair = Pair.up();
    for (let id = 0; id < 9; id++) pair.sender.forward(pair.op(id, { connection: 1 + (id % 3) }));
    pair.run();
    pair.owner.answer(
      pair.owner.taken[0].socket,
      pair.owner.taken.map(({ id }) => id),
    );
    pair.run();
    expect(pair.sender.told.map(({ connection, id, together }) => [connection, id, together])).toEqual(
      [1, 2, 3].flatMap((connection) => [0, 3, 6].map((id) => [connection, connection - 1 + id, 3])),
    );
  });

  test('a refusal of the owner other than not_owner is the answer', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(5));
    pair.run();
    pair.owner.refuse(pair.owner.taken[0], 'moving');
    pair.run();
    expect(pair.sender.told).toMatchObject([{ id: 5, code: CODES.moving.wire }]);
    expect(pair.sender.done).toEqual([0]);
  });

  test('a page of a listing is not counted for its slot', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(5, { kind: Kind.list, token: '', ttlMs: 100 }));
    pair.run();
    pair.owner.answer(pair.owner.taken[0].socket, [pair.owner.taken[0].id], 200);
    pair.run();
    expect(pair.sender.told).toMatchObject([{ id: 5, status: 200 }]);
    expect(pair.sender.done).toEqual([]);
  });
});

test('what a term that is over would have answered is given up, the rest goes on', () => {
  const pair = Pair.up();
  const { sender, owner } = pair;
  sender.forward(pair.op(1, { slot: 1 }));
  sender.forward(pair.op(2, { slot: 2 }));
  sender.forward(pair.op(3, { slot: 3, kind: Kind.get, token: '' }));
  sender.forward(pair.op(4, { slot: 3, kind: Kind.list, token: '' }));
  sender.peers.abandon('nobody', new Set([1, 2, 3]));
  expect(sender.told).toEqual([]);
  sender.peers.abandon('b', new Set([1, 3]));
  expect(sender.told).toMatchObject([
    { id: 1, status: 504, code: UNKNOWN },
    { id: 3, status: 503, code: UNAVAILABLE },
  ]);
  expect(sender.done).toEqual([1, 3]);
  pair.run();
  for (const { socket, id } of owner.taken) owner.answer(socket, [id], 200);
  pair.run();
  expect(sender.told.slice(2)).toMatchObject([
    { id: 2, status: 200 },
    { id: 4, status: 200 },
  ]);
  expect(sender.done).toEqual([1, 3, 2]);
});

describe('a link that breaks', () => {
  test('what was under way is of unknown outcome, what was not comes back; then it connects again', () => {
    const pair = Pair.up();
    const { sender } = pair;
    sender.forward(pair.op(1, { slot: 1 }));
    sender.forward(pair.op(2, { slot: 2, kind: Kind.get, token: '' }));
    sender.forward(pair.op(3, { slot: 3, flags: MADE, token: 'sixteen bytes ..' }));
    pair.run();
    sender.forward(pair.op(4, { slot: 4, connection: 9 }));
    pair.cable.cut('gone');
    expect(sender.told).toMatchObject([
      { id: 1, status: 504, code: UNKNOWN, token: '', together: 3 },
      { id: 2, status: 503, code: UNAVAILABLE },
      { id: 3, status: 504, code: UNKNOWN, token: 'sixteen bytes ..' },
    ]);
    expect(sender.returned).toMatchObject([{ id: 4, connection: 9, slot: 4 }]);
    expect(sender.done).toEqual([1, 2, 3]);
    expect([pair.state, sender.forward(pair.op(5))]).toEqual(['waiting', 'noLink']);
    pair.pass(LIMITS.peerConnectMs);
    expect([pair.state, sender.up]).toEqual(['up', ['b', 'b']]);
    sender.forward(pair.op(6));
    pair.run();
    expect(keysOf(pair.owner.taken)).toContain('k6');
    expect(keysOf(pair.owner.taken)).not.toContain('k4');
  });

  test('nothing is ever sent twice, whenever it breaks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('send', 'send', 'turn', 'there', 'back', 'cut', 'pass'), {
          minLength: 20,
          maxLength: 80,
        }),
        (steps) => {
          const pair = Pair.up();
          const { sender, owner } = pair;
          let sent = 0;
          for (const step of steps) {
            if (step === 'send' && sender.forward(pair.op(sent)) === 'taken') sent++;
            else if (step === 'turn') sender.turn.end();
            else if (step === 'there') pair.cable.there.splice(0, 1)[0]?.arrive();
            else if (step === 'back') pair.cable.back.splice(0, 1)[0]?.arrive();
            else if (step === 'cut') pair.cable.cut('cut');
            else if (step === 'pass') pair.pass(100);
          }
          pair.run();
          const taken = keysOf(owner.taken);
          expect(new Set(taken).size).toBe(taken.length);
          for (const { key } of sender.returned) expect(taken).not.toContain(key);
          const settled = sender.told.length + sender.returned.length;
          expect(settled + sender.peers.report()[0].open).toBe(sent);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('attempts become rarer, and are spread', () => {
    const pair = Pair.up();
    pair.network.owners.clear();
    pair.cable.cut('gone');
    const attempts = (): number => pair.network.cables.length;
    const before = attempts();
    pair.pass(10_000);
    expect(attempts() - before).toBeLessThan(20);
    expect(attempts() - before).toBeGreaterThan(8);
    expect(pair.sender.logged).toEqual([
      'no link to a peer: gone',
      'no link to a peer: connect ECONNREFUSED',
    ]);
  });

  test('a silent peer is given up, one that only lets single requests lie is not', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(1));
    pair.pass(SILENCE_MS * 2);
    expect([pair.state, pair.sender.told.length]).toEqual(['up', 0]);
    pair.network.dead = true;
    pair.pass(SILENCE_MS + 200);
    expect(pair.state).not.toBe('up');
    expect(pair.sender.told).toMatchObject([{ id: 1, code: UNKNOWN }]);
    expect(pair.sender.logged).toEqual(['no link to a peer: silent']);
  });

  test('a wedged lane behind a living peer: each request is given up when its time is over', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(1));
    pair.pass(1_000);
    pair.sender.forward(pair.op(2));
    pair.pass(TIMEOUT_MS - 1_000);
    expect(pair.sender.told).toEqual([]);
    // The owner has a moment to say it itself.
    pair.pass(600);
    expect(pair.sender.told).toMatchObject([{ id: 1, code: UNKNOWN }]);
    expect(pair.sender.done).toEqual([0]);
  });

  test('an answer that comes after its forward was given up finds nobody', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(1));
    pair.pass(TIMEOUT_MS + 600);
    const [late] = pair.owner.taken;
    pair.sender.told.length = 0;
    // Takes the place of the one that was given up.
    pair.sender.forward(pair.op(2));
    pair.run();
    pair.owner.answer(late.socket, [late.id]);
    pair.run();
    expect(pair.sender.told).toEqual([]);
    pair.owner.answer(late.socket, [pair.owner.taken[1].id]);
    pair.run();
    expect(pair.sender.told).toMatchObject([{ id: 2 }]);
  });

  test('answers that do not add up break it', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(1));
    pair.run();
    const socket = pair.owner.taken[0].socket;
    pair.owner.answer(socket, [pair.owner.taken[0].id]);
    const [message] = pair.cable.back;
    expect(message).toBeDefined();
    pair.cable.back.length = 0;
    // The same in pieces.
    pair.owner.context.connections.open++;
    const outlet = (socket as unknown as { outlet: { send(bytes: Uint8Array, binary: boolean): void } })
      .outlet;
    outlet.send(Uint8Array.of(12, 0, 0, 0, 1, 0), true);
    pair.run();
    expect(pair.sender.logged).toEqual(['no link to a peer: answers that do not add up']);
  });

  test('what lay in the open frame while this process stood still is given up once, and comes too late', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    sender.forward(pair.op(1));
    sender.clock.time += TIMEOUT_MS + 600;
    owner.clock.time += TIMEOUT_MS + 600;
    sender.peers.sweep(sender.clock.now());
    expect(sender.told).toMatchObject([{ id: 1, code: UNKNOWN }]);
    for (const message of pair.cable.there.splice(0)) message.arrive();
    pair.cable.cut('gone');
    expect([sender.told.length, sender.returned, owner.taken]).toEqual([1, [], []]);
  });

  test('time in which this process stood still is no silence of the peer', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(1));
    pair.run();
    pair.sender.clock.time += 5_000;
    pair.sender.peers.sweep(pair.sender.clock.now());
    expect(pair.state).toBe('up');
  });
});

describe('bounds', () => {
  test('too many forwards under way', () => {
    const pair = Pair.up();
    pair.network.dead = true;
    for (let i = 0; i < LIMITS.peerRequestsMax; i++) {
      if (pair.sender.forward(pair.op(i & 0xff, { connection: i })) !== 'taken') throw new Error(`${i}`);
    }
    expect(pair.sender.forward(pair.op(1))).toBe('full');
    pair.cable.cut('gone');
    expect(pair.sender.told.length + pair.sender.returned.length).toBe(LIMITS.peerRequestsMax);
    expect(new Set(pair.sender.told.map(({ connection }) => connection)).size).toBe(pair.sender.told.length);
  });

  test('a peer that does not read: refused, and the link to another goes on', () => {
    const pair = Pair.up();
    const { sender, network } = pair;
    const other = new Owner({ cluster: 'c', process: 'x', key: KEY }, new FakeClock(9));
    network.owners.set('127.0.0.1:2', other);
    sender.peers.update([
      { id: 'b', address: '127.0.0.1:7420' },
      { id: 'x', address: '127.0.0.1:2' },
    ]);
    pair.run();
    network.cables[0].holdThere = true;
    const large = pair.op(1, { key: 'x'.repeat(512) });
    let taken = 0;
    while (taken < 100_000 && sender.forward(large) === 'taken') taken++;
    expect(taken * 570).toBeGreaterThan(LIMITS.peerBacklogBytesMax * 0.9);
    expect(taken * 570).toBeLessThan(LIMITS.peerBacklogBytesMax * 1.2);
    expect(sender.forward(pair.op(2), 'x')).toBe('taken');
    pair.run();
    expect(keysOf(other.taken)).toEqual(['k2']);
  });

  test('an owner that has too much refuses, and says so', () => {
    const pair = Pair.up();
    pair.owner.full = true;
    pair.sender.forward(pair.op(1));
    pair.run();
    expect(pair.sender.told).toMatchObject([{ id: 1, code: CODES.overloaded.wire }]);
    expect([pair.owner.taken, pair.owner.context.connections.open]).toEqual([[], 0]);
  });
});
