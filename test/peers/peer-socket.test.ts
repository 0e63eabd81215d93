import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { PEER_FRAME_BYTES_MAX, type PeerSocket } from '../../src/front/peer-socket.ts';
import { LIMITS } from '../../src/limits.ts';
import { FrameWriter } from '../../src/peers/frame.ts';
import { KEY, makeOp, Pair, type PairOptions, SILENCE_MS, TERM, TIMEOUT_MS } from './rig.ts';

const WRONG_KEY = Buffer.from('the secret of another cluster');

/** Puts bytes on the wire as if the link had sent them. */
function inject(pair: Pair, socket: PeerSocket, bytes: Uint8Array, isBinary = true): void {
  socket.message(Uint8Array.from(bytes).buffer, isBinary);
  pair.run();
}

function frameOf(seen: number, sentAt: number, ...ids: number[]): Uint8Array {
  const writer = new FrameWriter();
  for (const id of ids) writer.add(TERM, makeOp({ key: `k${id}`, slot: 5 }), id, 0);
  return Uint8Array.from(writer.seal(seen, sentAt));
}

describe('who may open a link', () => {
  test.each<[string, PairOptions, string, RegExp]>([
    ['another key', { ownerKey: WRONG_KEY }, '127.0.0.1', /it has another cluster key/],
    ['a key on one side only', { ownerKey: undefined }, '127.0.0.1', /it has another cluster key/],
    ['no key, from elsewhere', { key: undefined }, '10.0.0.7', /without a cluster key only loopback/],
    [
      'no key, from elsewhere over IPv6',
      { key: undefined },
      'fe80:0000:0000:0000:0000:0000:0000:0001',
      /loopback/,
    ],
  ])('not: %s', (_, options, from, reason) => {
    const pair = new Pair(options);
    pair.network.from = from;
    pair.run();
    expect([pair.state, pair.sender.up]).toEqual(['waiting', []]);
    expect(pair.cable.closedWith).toMatchObject({ code: 4003, reason: expect.stringMatching(reason) });
    pair.pass(5_000);
    expect(pair.state).not.toBe('up');
    // Tried again and again, and said once on each side.
    expect(pair.network.cables.length).toBeGreaterThan(3);
    expect(pair.owner.logged).toHaveLength(1);
    expect(pair.owner.logged[0]).toMatch(reason);
    expect(pair.sender.logged).toHaveLength(1);
    expect(pair.owner.peers.heardSince(-Infinity)).toEqual([]);
  });

  test.each([
    '127.0.0.1',
    '0000:0000:0000:0000:0000:0000:0000:0001',
    '0000:0000:0000:0000:0000:ffff:7f00:0001',
  ])('without a key: %s', (from) => {
    const pair = new Pair({ key: undefined });
    pair.network.from = from;
    pair.run();
    expect(pair.state).toBe('up');
  });

  test('without a key no address but a loopback one is even tried', () => {
    const pair = new Pair({ key: undefined, address: '10.0.0.7:7420' });
    pair.pass(2_000);
    expect([pair.state, pair.network.cables.length]).toEqual(['barred', 0]);
    expect(pair.sender.logged).toEqual([
      'no link to a peer: without a cluster key only loopback addresses are connected to',
    ]);
  });

  test('with a key: any address', () => {
    const pair = new Pair({ key: KEY, address: '10.0.0.7:7420' });
    pair.network.from = '10.0.0.8';
    pair.run();
    expect(pair.state).toBe('up');
  });

  test('not who means another process, at an address that was given away', () => {
    const pair = Pair.up();
    pair.sender.peers.update([{ id: 'gone', address: '127.0.0.1:7420' }]);
    pair.run();
    expect(pair.state).toBe('waiting');
    expect(pair.sender.logged).toEqual([
      'no link to a peer: it means another process than the one at this address',
    ]);
  });

  test('not who repeats what a peer sent before', () => {
    const pair = Pair.up();
    const [hello, proof] = pair.cable.sent;
    pair.network.open('127.0.0.1:7420', { opened() {}, message() {}, closed() {} });
    pair.run();
    const socket = pair.owner.sockets[1];
    inject(pair, socket, hello);
    inject(pair, socket, proof);
    expect([socket.process, pair.cable.closedWith?.code]).toEqual(['', 4003]);
    expect(pair.owner.peers.heardSince(-Infinity)).toEqual(['a']);
    expect(pair.state).toBe('up');
  });

  test('nothing is taken before the handshake is through', () => {
    const pair = new Pair();
    pair.network.open('127.0.0.1:7420', { opened() {}, message() {}, closed() {} });
    const stranger = pair.network.cable;
    pair.run();
    inject(pair, pair.owner.sockets[1], frameOf(0, pair.owner.clock.now(), 1));
    expect(stranger.closedWith?.code).toBe(4003);
    expect(pair.owner.taken).toEqual([]);
  });

  test('who says nothing is closed in time', () => {
    const pair = Pair.up();
    pair.network.open('127.0.0.1:7420', { opened() {}, message() {}, closed() {} });
    pair.pass(SILENCE_MS);
    expect(pair.cable.closedWith).toBeUndefined();
    pair.pass(300);
    expect(pair.cable.closedWith?.code).toBe(4008);
    expect(pair.owner.byNumber.size).toBe(1);
  });
});

describe('a frame that is not what the grammar says ends the socket, and nothing of it is taken', () => {
  test.each<[string, (pair: Pair) => Uint8Array, boolean, number]>([
    ['text', () => Buffer.from('{}'), false, 1003],
    ['too large', () => new Uint8Array(PEER_FRAME_BYTES_MAX + 1), true, 1009],
    ['cut off', (pair) => frameOf(0, pair.owner.clock.now(), 1, 2).subarray(0, -1), true, 1007],
    ['empty', () => new Uint8Array(0), true, 1007],
    ['refusals that never were', (pair) => frameOf(1, pair.owner.clock.now(), 1), true, 1007],
  ])('%s', (_, bytes, isBinary, code) => {
    const pair = Pair.up();
    const [socket] = pair.owner.sockets;
    inject(pair, socket, bytes(pair), isBinary);
    expect(pair.cable.closedWith?.code).toBe(code);
    inject(pair, socket, frameOf(0, pair.owner.clock.now(), 3));
    expect(pair.owner.taken).toEqual([]);
    expect(pair.owner.context.connections.open).toBe(0);
  });
});

describe('a forward that its sender may have given up has no effect', () => {
  test('when it lay on the way for too long: it comes back, and the next ones with it', () => {
    const pair = Pair.up();
    const { sender, owner, cable } = pair;
    cable.holdThere = true;
    sender.forward(pair.op(1, { slot: 5 }));
    // Less than the silence after which the link is given up.
    pair.pass(SILENCE_MS - 100);
    sender.forward(pair.op(2, { slot: 5 }));
    sender.turn.end();
    owner.clock.time += 200;
    cable.holdThere = false;
    sender.clock.time += 200;
    pair.run();
    expect(owner.taken).toEqual([]);
    expect(sender.returned.map(({ id }) => id)).toEqual([1, 2]);
    sender.forward(pair.op(3, { slot: 5 }));
    pair.run();
    expect(owner.taken.map(({ key }) => key)).toEqual(['k3']);
  });

  test('when its time is over but for a moment', () => {
    const pair = Pair.up();
    const { sender, owner, cable } = pair;
    cable.holdThere = true;
    sender.forward(pair.op(1, { slot: 1, receivedAt: sender.clock.now() - TIMEOUT_MS + 150 }));
    sender.forward(pair.op(2, { receivedAt: sender.clock.now() - TIMEOUT_MS + 300 }));
    pair.pass(200);
    cable.holdThere = false;
    pair.run();
    expect(owner.taken.map(({ key }) => key)).toEqual(['k2']);
    expect(sender.returned.map(({ id }) => id)).toEqual([1]);
  });

  test('when this process stood still and reads what the old link had left', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    const old = pair.cable;
    old.holdThere = true;
    old.holdBack = true;
    sender.forward(pair.op(1, { slot: 5 }));
    for (let i = 0; i < 25; i++) {
      sender.clock.time += 100;
      sender.peers.sweep(sender.clock.now());
      sender.turn.end();
    }
    expect(sender.told).toMatchObject([{ id: 1, code: CODES.outcome_unknown.wire }]);
    owner.clock.time += 2_500;
    old.holdThere = false;
    pair.run();
    expect(owner.taken).toEqual([]);
  });

  test('when a newer link of the same process is up', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    const old = pair.cable;
    old.holdThere = true;
    sender.forward(pair.op(1, { slot: 5 }));
    sender.turn.end();
    // The sender gives the link up; the owner does not hear of that yet.
    const [late] = old.there.splice(0);
    const held = { ...late };
    (sender.peers as unknown as { links: Map<string, { down(reason: string, now: number): void }> }).links
      .get('b')!
      .down('test', sender.clock.now());
    old.there.length = 0;
    pair.pass(LIMITS.peerConnectMs);
    expect([pair.state, owner.sockets.length]).toEqual(['up', 2]);
    expect(old.closedWith?.code).toBe(4004);
    held.arrive();
    pair.run();
    expect(owner.taken).toEqual([]);
    sender.forward(pair.op(2, { slot: 5 }));
    pair.run();
    expect(owner.taken.map(({ key }) => key)).toEqual(['k2']);
    expect(owner.peers.heardSince(-Infinity)).toEqual(['a']);
  });

  test.each([10, -10])('whatever the clocks are, and though one gains %i ms in 100 on the other', (gain) => {
    const pair = Pair.up();
    const { sender, owner, cable } = pair;
    for (let i = 0; i < 600; i++) {
      owner.clock.time += gain;
      pair.pass(100);
    }
    sender.forward(pair.op(1, { slot: 1 }));
    pair.run();
    expect(owner.taken.map(({ key }) => key)).toEqual(['k1']);
    cable.holdThere = true;
    sender.forward(pair.op(2, { slot: 2 }));
    sender.turn.end();
    pair.pass(SILENCE_MS - 100);
    owner.clock.time += 800;
    cable.holdThere = false;
    pair.run();
    expect(sender.returned.map(({ id }) => id)).toEqual([2]);
  });
});

describe('looking after sockets', () => {
  test('a peer that went silent is cut off', () => {
    const pair = Pair.up();
    pair.cable.holdThere = true;
    for (let i = 0; i < 42; i++) {
      pair.owner.clock.time += 100;
      pair.owner.sockets[0].sweep(pair.owner.clock.now(), 0);
    }
    pair.run();
    expect(pair.owner.byNumber.size).toBe(0);
    expect(pair.owner.peers.heardSince(-Infinity)).toEqual([]);
  });

  test('says from whom something came since when', () => {
    const pair = Pair.up();
    const start = pair.owner.clock.now();
    expect(pair.owner.peers.heardSince(start)).toEqual(['a']);
    pair.pass(1_000);
    const heardAt = pair.owner.sockets[0].lastHeardAt;
    expect(heardAt).toBeGreaterThan(start);
    expect(pair.owner.peers.heardSince(heardAt + 1)).toEqual([]);
  });

  test('requests that a lane leaves unanswered end the socket, answered ones do not', () => {
    const pair = Pair.up();
    const { cable } = pair;
    pair.sender.forward(pair.op(1));
    pair.run();
    pair.pass(TIMEOUT_MS);
    pair.owner.answer(pair.owner.taken[0].socket, [pair.owner.taken[0].id]);
    pair.pass(3_000);
    expect(cable.closedWith).toBeUndefined();
    pair.sender.forward(pair.op(2));
    pair.pass(TIMEOUT_MS + 2_000);
    expect(cable.closedWith?.code).toBe(1011);
    expect(pair.owner.context.connections.open).toBe(0);
  });

  test('shutdown closes it, after what was said before', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(1));
    pair.run();
    pair.owner.refuse(pair.owner.taken[0], 'moving');
    pair.owner.sockets[0].shutDown();
    pair.run();
    expect(pair.sender.told).toMatchObject([{ id: 1, code: CODES.moving.wire }]);
    expect(pair.cable.closedWith?.code).toBe(1012);
  });
});
