/** What a process wants, from `want` at one end to `peerWants` at the other. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { FrameWriter } from '../../src/peers/frame.ts';
import { FakeClock, KEY, Owner, Pair, SLOTS } from './rig.ts';

const slots = (...all: number[]): Uint16Array => Uint16Array.from(all);

/** What the owner takes `a` to want. */
const heard = (pair: Pair): number[] => pair.owner.wanted.get('a') ?? [];

describe('the wanted slots', () => {
  test('leave at the end of the turn, in one frame with the forwards', () => {
    const pair = Pair.up();
    const { sender, owner, cable } = pair;
    const before = cable.sent.length;
    sender.forward(pair.op(1));
    sender.peers.want(slots(3, 9));
    expect(cable.sent.length).toBe(before);
    pair.run();
    expect([heard(pair), owner.taken.length, cable.sent.length]).toEqual([[3, 9], 1, before + 1]);
    sender.peers.want(slots(9));
    pair.run();
    expect(heard(pair)).toEqual([9]);
    sender.peers.want(slots());
    pair.run();
    expect([heard(pair), owner.wantedTold, cable.sent.length]).toEqual([[], 3, before + 3]);
  });

  test('are not told again while they are the same', () => {
    const pair = Pair.up();
    const { sender, owner, cable } = pair;
    sender.peers.want(slots(3, 9));
    pair.run();
    const before = cable.sent.length;
    sender.peers.want(slots(3, 9));
    pair.run();
    sender.peers.want(slots(4));
    sender.peers.want(slots(3, 9));
    pair.run();
    expect([owner.wantedTold, cable.sent.length]).toEqual([1, before]);
    sender.forward(pair.op(1));
    pair.pass(2_000);
    expect(owner.wantedTold).toBe(1);
  });

  test('go to every peer, also to one that comes later', () => {
    const pair = Pair.up();
    const { sender, network } = pair;
    const other = new Owner({ cluster: 'c', process: 'x', key: KEY }, new FakeClock(9));
    network.owners.set('127.0.0.1:2', other);
    sender.peers.want(slots(5));
    sender.peers.update([
      { id: 'b', address: '127.0.0.1:7420' },
      { id: 'x', address: '127.0.0.1:2' },
    ]);
    pair.run();
    expect([heard(pair), other.wanted.get('a')]).toEqual([[5], [5]]);
  });

  test('are told as they are now to a process that was away for a moment', () => {
    const pair = Pair.up();
    const { sender } = pair;
    sender.forward(pair.op(1));
    pair.run();
    sender.peers.update([]);
    sender.peers.want(slots(5));
    pair.run();
    sender.peers.update([{ id: 'b', address: '127.0.0.1:7420' }]);
    pair.run();
    expect([heard(pair), pair.network.cables.length]).toEqual([[5], 1]);
  });

  test('a peer that does not read is told only the latest, when it has caught up', () => {
    const pair = Pair.up();
    const { sender, owner, cable } = pair;
    cable.holdThere = true;
    const large = pair.op(1, { key: 'x'.repeat(512) });
    while (sender.forward(large) === 'taken');
    sender.turn.end();
    const before = cable.sent.length;
    for (let slot = 0; slot < 20; slot++) {
      sender.peers.want(slots(slot));
      sender.turn.end();
    }
    expect(cable.sent.length).toBe(before);
    cable.holdThere = false;
    pair.pass(100);
    expect([heard(pair), owner.wantedTold]).toEqual([[19], 1]);
  });
});

describe('are forgotten with their socket', () => {
  test('and told again when the link is up again', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    sender.peers.want(slots(3, 9));
    pair.run();
    pair.cable.cut('gone');
    expect(heard(pair)).toEqual([]);
    pair.pass(LIMITS.peerConnectMs);
    expect([pair.state, heard(pair), owner.wantedTold]).toEqual(['up', [3, 9], 3]);
  });

  test('when the peer went silent', () => {
    const pair = Pair.up();
    pair.sender.peers.want(slots(3));
    pair.run();
    pair.owner.clock.time += 2 * LIMITS.peerSilenceMs + 1;
    pair.owner.sockets[0].sweep(pair.owner.clock.now(), 0);
    expect(heard(pair)).toEqual([]);
  });

  test('nothing is said of a socket that wanted nothing', () => {
    const pair = Pair.up();
    pair.cable.cut('gone');
    pair.pass(LIMITS.peerConnectMs);
    expect([pair.state, pair.owner.wantedTold]).toEqual(['up', 0]);
  });

  test('nothing is taken of a frame that is malformed behind them', () => {
    const pair = Pair.up();
    const frame = new FrameWriter().seal(0, 0, slots(3));
    pair.owner.sockets[0].message(Uint8Array.from([...frame, 0]).buffer, true);
    pair.run();
    expect([pair.cable.closedWith?.code, pair.owner.wantedTold]).toEqual([1007, 0]);
  });

  test('a newer socket is not touched by the end of the older one, whenever it breaks', () => {
    const list = fc.uniqueArray(fc.integer({ min: 0, max: SLOTS - 1 }), { maxLength: 4 });
    const step = fc.oneof(
      list.map((all) => slots(...all).sort()),
      fc.constantFrom('turn', 'there', 'back', 'break', 'cut', 'pass'),
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), (steps) => {
        const pair = Pair.up();
        const { sender, network } = pair;
        let last = slots();
        for (const step of steps) {
          if (typeof step !== 'string') sender.peers.want((last = step));
          else if (step === 'turn') sender.turn.end();
          else if (step === 'there') pair.cable.there.splice(0, 1)[0]?.arrive();
          else if (step === 'back') pair.cable.back.splice(0, 1)[0]?.arrive();
          else if (step === 'break') breakLink(pair);
          else if (step === 'cut') pair.cable.cut('cut');
          else if (step === 'pass') pair.pass(100);
        }
        pair.pass(10_000);
        expect([pair.state, heard(pair)]).toEqual(['up', [...last]]);
        for (const cable of network.cables.slice(0, -1)) cable.cut('late');
        expect(heard(pair)).toEqual([...last]);
      }),
      { numRuns: 200 },
    );
  });
});

/** The sender gives the link up; the owner hears of it later, behind what was sent. */
function breakLink({ sender }: Pair): void {
  const { links } = sender.peers as unknown as {
    links: Map<string, { down(reason: string, now: number): void }>;
  };
  links.get('b')!.down('test', sender.clock.now());
}
