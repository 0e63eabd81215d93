import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { OpFlag } from '../../src/op.ts';
import type { Cable } from './network.ts';
import { MADE, Pair, type Taken } from './rig.ts';

const UNKNOWN = CODES.outcome_unknown.wire;
const SLOT = 5;

const keysOf = (list: readonly { key: string }[]): string[] => list.map(({ key }) => key);

const STEPS = ['send', 'send', 'send', 'turn', 'there', 'back', 'flip', 'disown', 'take'] as const;

/** Requests on one slot while its owner loses it and gets it back; both routings are models of batch/routing.ts. */
class Race {
  sent = 0;
  private readonly pair = Pair.up();
  private readonly effects: number[] = [];
  /** Of the sender: what is not under way, in order; the first `back` of them were refused. */
  private readonly waiting: number[] = [];
  private back = 0;
  private underWay = 0;
  /** Of the owner: what it has taken and not answered. */
  private readonly undecided: Taken[] = [];
  /** What comes while others are on their way back from a lane is refused behind them. */
  private owns: 'yes' | 'losing' | 'no' = 'yes';

  constructor() {
    const { sender, owner } = this.pair;
    sender.react = () => this.react();
    owner.accept = () => this.owns !== 'no';
  }

  step(what: (typeof STEPS)[number]): void {
    const { sender, owner, cable } = this.pair;
    if (what === 'send') {
      this.waiting.push(this.sent++);
      this.route();
    } else if (what === 'turn') {
      sender.turn.end();
      owner.turn.end();
    } else if (what === 'there') this.arrive(cable.there);
    else if (what === 'back') this.arrive(cable.back);
    else if (what === 'flip' && this.owns !== 'losing') this.owns = this.owns === 'yes' ? 'losing' : 'yes';
    else if (what === 'take' && this.owns === 'yes') this.take();
    else if (what === 'disown' && this.owns === 'losing') this.disown();
  }

  /** Everything arrives and is decided; returns what took effect, in that order. */
  end(): readonly number[] {
    if (this.owns === 'losing') this.disown();
    this.owns = 'yes';
    for (let i = 0; i < 40; i++) {
      this.pair.run();
      this.undecided.push(...this.pair.owner.taken.splice(0));
      this.take();
    }
    return this.effects;
  }

  private arrive(line: Cable['there']): void {
    line.shift()?.arrive();
    this.undecided.push(...this.pair.owner.taken.splice(0));
  }

  private take(): void {
    for (const one of this.undecided.splice(0)) {
      this.effects.push(Number(one.key.slice(1)));
      this.pair.owner.answer(one.socket, [one.id]);
    }
  }

  private disown(): void {
    for (const one of this.undecided.splice(0)) this.pair.owner.disown(one);
    this.owns = 'no';
  }

  /** After a refusal nothing more is sent until all that is under way is back or answered. */
  private react(): void {
    const { sender } = this.pair;
    for (const { id } of sender.returned.splice(0)) {
      this.waiting.splice(this.back++, 0, id);
      this.underWay--;
    }
    this.underWay -= sender.done.splice(0).length;
    if (this.underWay > 0) return;
    this.back = 0;
    this.route();
  }

  private route(): void {
    if (this.back > 0) return;
    for (const id of this.waiting.splice(0)) {
      this.pair.sender.forward(this.pair.op(id, { slot: SLOT }));
      this.underWay++;
    }
  }
}

describe('not_owner', () => {
  test('the op comes back as it was', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    owner.accept = () => false;
    const receivedAt = sender.clock.now() - 33.25;
    sender.forward(
      pair.op(8, { slot: 9, connection: 44, receivedAt, flags: MADE | OpFlag.full, token: 'x'.repeat(16) }),
    );
    pair.run();
    expect(sender.returned).toEqual([
      { id: 8, connection: 44, receivedAt, slot: 9, key: 'k8', flags: MADE | OpFlag.full },
    ]);
    expect([sender.told, sender.done]).toEqual([[], []]);
    expect(owner.context.connections.open).toBe(0);
  });

  test('what was sent before the sender knew of it is refused as well, for that slot only', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    owner.accept = () => false;
    sender.forward(pair.op(1, { slot: 5 }));
    sender.turn.end();
    for (const message of pair.cable.there.splice(0)) message.arrive();
    // Now it would take them, but what it refused is still on its way back.
    owner.accept = () => true;
    sender.forward(pair.op(2, { slot: 5 }));
    sender.forward(pair.op(3, { slot: 6 }));
    pair.run();
    expect(keysOf(sender.returned)).toEqual(['k1', 'k2']);
    expect(keysOf(owner.taken)).toEqual(['k3']);
    sender.forward(pair.op(4, { slot: 5 }));
    pair.run();
    expect(keysOf(owner.taken)).toEqual(['k3', 'k4']);
  });

  test('what is in the open frame when it comes leaves as one that did not know', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    sender.forward(pair.op(1, { slot: 5 }));
    pair.run();
    owner.disown(owner.taken[0]);
    owner.turn.end();
    sender.forward(pair.op(2, { slot: 5 }));
    for (const message of pair.cable.back.splice(0)) message.arrive();
    pair.run();
    expect(keysOf(sender.returned)).toEqual(['k1', 'k2']);
  });

  test('requests on one slot take effect in the order in which they were sent, whatever is refused', () => {
    const step = fc.constantFrom(...STEPS);
    fc.assert(
      fc.property(fc.array(step, { minLength: 40, maxLength: 150 }), (steps) => {
        const race = new Race();
        for (const one of steps) race.step(one);
        expect(race.end()).toEqual(Array.from({ length: race.sent }, (_, i) => i));
      }),
      { numRuns: 400 },
    );
  });

  test('a new link begins with none', () => {
    const pair = Pair.up();
    const { sender, owner } = pair;
    owner.accept = () => false;
    sender.forward(pair.op(1, { slot: 5 }));
    pair.run();
    expect(keysOf(sender.returned)).toEqual(['k1']);
    pair.cable.cut('gone');
    pair.pass(LIMITS.peerConnectMs);
    owner.accept = () => true;
    sender.forward(pair.op(2, { slot: 5 }));
    pair.run();
    expect([keysOf(owner.taken), pair.cable.closedWith]).toEqual([['k2'], undefined]);
  });

  test('an echo that is not the forward breaks the link', () => {
    const pair = Pair.up();
    pair.sender.forward(pair.op(1, { slot: 5 }));
    pair.run();
    pair.owner.disown({ ...pair.owner.taken[0], slot: 6 });
    pair.run();
    expect(pair.sender.returned).toEqual([]);
    expect(pair.sender.told).toMatchObject([{ id: 1, code: UNKNOWN }]);
    expect(pair.sender.logged).toEqual(['no link to a peer: a refusal that does not fit its forward']);
  });
});
