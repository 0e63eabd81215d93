/** Slots that go from one living term to another: by plan, and because an owner leaves or is not reached. */
import { describe, expect, it, vi } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { decodeSlotRecord, SLOT_PREFIX, TERM_PREFIX } from '../../src/slots/records.ts';
import { ownerOf } from '../../src/slots/rendezvous.ts';
import {
  acquire,
  allSlots,
  type Heard,
  LaneRig,
  type RigLane,
  setLimits,
  type SlotOp,
  SLOTS,
  SOON_MS,
} from './rig.ts';

/** `a` alone serves everything, with a claim of 30 s in every slot. */
async function held(): Promise<{ rig: LaneRig; a: RigLane; grantedAt: number }> {
  const rig = await LaneRig.begin();
  const a = rig.start('a');
  await rig.run(1_000);
  expect(a.served.size).toBe(SLOTS);
  const ids = a.send(allSlots().map((slot) => acquire(slot, 'uuid:first', { owner: 'me' })));
  const grantedAt = rig.now;
  await rig.run(100);
  for (const id of ids) expect(a.answers.get(id)).toMatchObject({ status: 201, fencingToken: 1 });
  return { rig, a, grantedAt };
}

/** The slots that should be `lane`'s when `lanes` serve. */
function share(lane: RigLane, lanes: readonly RigLane[]): number[] {
  const terms = lanes.map(({ term }) => term);
  return allSlots().filter((slot) => ownerOf(slot, terms) === lane.term);
}

describe('a newcomer', () => {
  it('gets its share once the terms have settled, and nothing before', async () => {
    const { rig, a } = await held();
    const b = rig.start('b');
    await rig.run(LIMITS.settleMs - 100);
    expect(b.term).not.toBe('');
    expect([a.served.size, b.served.size]).toEqual([SLOTS, 0]);
    await rig.run(100 + LIMITS.termPollAloneMs + SOON_MS);
    expect([...b.served].sort((x, y) => x - y)).toEqual(share(b, [a, b]));
    expect([...a.served].sort((x, y) => x - y)).toEqual(share(a, [a, b]));
    expect(rig.owned(b.term)).toEqual(share(b, [a, b]));
    expect(rig.owned(a.term)).toEqual(share(a, [a, b]));
    // It stays so.
    const { length } = [...a.announcements, ...b.announcements];
    await rig.run(3 * LIMITS.settleMs);
    expect([...a.announcements, ...b.announcements]).toHaveLength(length);
    rig.check();
  });

  it('serves each slot soon after its loss was told, and never waits for more than may be open', async () => {
    setLimits({ handoversOpenMax: 4 });
    const { rig } = await held();
    const b = rig.start('b');
    const from = rig.store.log.length;
    await rig.run(LIMITS.termPollAloneMs + LIMITS.settleMs + 2 * SOON_MS);
    const lostAt = new Map<number, number>();
    for (const message of rig.heard) {
      if (message.kind === 'lost') for (const slot of message.slots) lostAt.set(slot, message.at);
      if (message.kind !== 'owned' || message.by !== b) continue;
      expect(message.term).toBe(b.term);
      for (const slot of message.slots) {
        // A commit, a watch's event, a claim, a read: each about a round trip of a millisecond.
        expect(message.at - lostAt.get(slot)!).toBeLessThan(20);
        lostAt.delete(slot);
      }
    }
    expect([lostAt.size, b.served.size > 20]).toEqual([0, true]);
    // As soon as some are claimed others go.
    const losses = rig.heard.filter(({ kind }) => kind === 'lost');
    expect(losses.at(-1)!.at - losses[0].at).toBeLessThan(losses.length * 10);
    const given = new Set<string>();
    let givenMax = 0;
    for (const { key, value } of rig.store.log.slice(from).flatMap(({ changes }) => changes)) {
      if (!key.startsWith(SLOT_PREFIX)) continue;
      if (decodeSlotRecord(value!).next === null) given.delete(key);
      else given.add(key);
      givenMax = Math.max(givenMax, given.size);
    }
    expect(givenMax).toBe(4);
    rig.check();
  });

  it('keeps claims for the time that they had left, not for a whole TTL', async () => {
    const { rig, grantedAt } = await held();
    await rig.run(16_000);
    const b = rig.start('b');
    await rig.run(LIMITS.settleMs + 1_000);
    const [slot] = b.served;
    const leftMs = grantedAt + 30_000 - rig.now;
    const other = acquire(slot, 'uuid:second');
    const refused = await b.ask(other);
    expect(refused).toMatchObject({ status: 409, code: 'lock_held', fencingToken: 1 });
    expect(Math.abs(refused.expiresInMs - leftMs)).toBeLessThan(100);
    // As the model's clocks all run at one rate: free a pad, a tick and two round trips after the promise.
    await rig.run(grantedAt + 30_000 - rig.now);
    expect(await b.ask(other)).toMatchObject({ status: 409 });
    await rig.run(ttlPadMs(30_000) + 2 * LIMITS.laneTickMs + 50);
    expect(await b.ask(other)).toMatchObject({ status: 201, fencingToken: 3 });
    rig.check();
  });

  it('keeps a claim whose renewal leaves in the very entry that hands its slot over for a whole TTL', async () => {
    const { rig, a } = await held();
    await rig.run(10_000);
    const b = rig.start('b');
    await rig.until(() => a.said('terms').some(({ terms }) => terms.length === 2), 1_000);
    await rig.run(LIMITS.settleMs);
    // From when the owner looks who lives until it gives the first slots away: each slot is renewed once.
    const looks = vi.spyOn(a.connection, 'changedAfter');
    const renewed = new Map<number, { id: number; refused: number }>();
    const left = share(b, [a, b]);
    const lost = (): Heard | undefined => rig.heard.find(({ kind, by }) => kind === 'lost' && by === a);
    for (; lost() === undefined; await rig.run(0.1)) {
      if (looks.mock.lastCall?.[0] !== TERM_PREFIX || left.length === 0) continue;
      const slot = left.shift()!;
      const [id, refused] = a.send([
        { kind: 'renew', slot, name: `lock ${slot}`, token: 'uuid:first' },
        acquire(slot, 'uuid:second'),
      ]);
      renewed.set(slot, { id, refused });
    }
    await rig.run(SOON_MS);
    const given = lost() as Heard & { readonly slots: Uint16Array };
    const underWay = [...given.slots].filter((slot) => {
      const renewal = renewed.get(slot);
      return renewal !== undefined && a.answers.get(renewal.id)!.at > given.at;
    });
    expect(underWay).not.toEqual([]);
    for (const slot of given.slots) {
      const { expiresInMs } = await b.ask(acquire(slot, 'uuid:second'));
      if (!renewed.has(slot)) expect(expiresInMs).toBeLessThan(20_000);
      else expect(expiresInMs).toBeGreaterThan(29_000);
    }
    for (const slot of underWay) {
      const { at, expiresInMs } = a.answers.get(renewed.get(slot)!.id)!;
      const now = await b.ask(acquire(slot, 'uuid:second'));
      expect(now.at + now.expiresInMs).toBeGreaterThan(at + expiresInMs - 5);
      // The answers of that entry tell the claim's times though the slot is gone.
      const told = a.answers.get(renewed.get(slot)!.refused)!;
      expect(told).toMatchObject({ code: 'lock_held', expiresInMs });
    }
    rig.check();
  });

  it('knows the tokens that ended before it came, and goes on numbering', async () => {
    const { rig, a } = await held();
    const release = (slot: number): SlotOp => ({
      kind: 'release',
      slot,
      name: `lock ${slot}`,
      token: 'uuid:first',
    });
    await rig.run(1_000);
    a.send(allSlots().map(release));
    const b = rig.start('b');
    await rig.run(LIMITS.settleMs + 1_000);
    for (const slot of b.served) {
      expect(await b.ask(acquire(slot, 'uuid:first'))).toMatchObject({ code: 'not_held' });
      expect(await b.ask(acquire(slot, 'uuid:next'))).toMatchObject({ status: 201, fencingToken: 3 });
    }
    rig.check();
  });
});
