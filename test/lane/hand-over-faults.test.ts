/** Hand-overs that go wrong half-way: somebody dies, a reply is lost, the state is large. */
import { describe, expect, it, vi } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import type { SlotRecord } from '../../src/slots/records.ts';
import { ShardError } from '../../src/shard/store.ts';
import { heirOf, ownerOf } from '../../src/slots/rendezvous.ts';
import { acquire, allSlots, LaneRig, type RigLane, SLOTS, setLimits, type SlotOp, SOON_MS } from './rig.ts';

const GIVEN = (record: SlotRecord): boolean => record.next !== null;

/** Lanes with their share, and a claim in every slot that was granted `ageMs` ago. */
async function held(
  ageMs: number,
  ...processes: readonly string[]
): Promise<{ rig: LaneRig; lanes: RigLane[]; grantedAt: number }> {
  const { rig, lanes } = await LaneRig.settled(...processes);
  const grantedAt = rig.now;
  for (const lane of lanes) {
    const ids = lane.send([...lane.served].map((slot) => acquire(slot, 'uuid:first')));
    await rig.run(50);
    for (const id of ids) expect(lane.answers.get(id)).toMatchObject({ status: 201 });
  }
  await rig.run(grantedAt + ageMs - rig.now);
  return { rig, lanes, grantedAt };
}

/** How long the holder's claim lasts still, by what another client is told, from now. */
async function leftMs(lane: RigLane, slot: number): Promise<number> {
  const said = await lane.ask(acquire(slot, 'uuid:other'));
  expect(said).toMatchObject({ code: 'lock_held', fencingToken: 1 });
  return said.expiresInMs;
}

async function serves(rig: LaneRig, lane: RigLane, slots: readonly number[], ms: number): Promise<void> {
  expect(await rig.until(() => slots.every((slot) => lane.served.has(slot)), ms)).toBe(true);
}

describe('a hand-over to a term that dies', () => {
  it('before it claimed goes to its heir, with whole TTLs', async () => {
    const { rig, lanes } = await held(20_000, 'a', 'b', 'c');
    const [a, b, c] = lanes;
    rig.scheduler.pause(b.domain);
    a.lane.reach(false);
    await rig.run(SOON_MS);
    const dead = b.term;
    const given = allSlots().filter((slot) => rig.record(slot).next === dead);
    expect(given.length).toBeGreaterThan(5);
    for (const slot of given) {
      expect(rig.record(slot)).toMatchObject({ owner: null, segments: [] });
      expect(lanes.some(({ served }) => served.has(slot) && served !== b.served)).toBe(false);
    }
    b.killWithLease();
    const began = rig.now;
    // Of those that serve: the giver should not own any, so there is only one.
    await serves(rig, c, given, LIMITS.termPollMs + SOON_MS);
    expect(c.term).toBe(heirOf(dead, [c.term]));
    expect(rig.now - began).toBeLessThan(LIMITS.termPollMs + SOON_MS);
    for (const slot of given) expect(await leftMs(c, slot)).toBeGreaterThan(29_000);
    rig.check();
  });

  it('comes back to the giver when that is the heir', async () => {
    const { rig, lanes } = await held(10_000, 'a', 'b');
    const [a, b] = lanes;
    rig.scheduler.pause(b.domain);
    a.lane.reach(false);
    await rig.run(SOON_MS);
    const given = allSlots().filter((slot) => rig.record(slot).next === b.term);
    expect(given.length).toBeGreaterThan(5);
    b.killWithLease();
    await serves(rig, a, allSlots(), 2 * LIMITS.termPollMs + SOON_MS);
    for (const slot of given) expect(await leftMs(a, slot)).toBeGreaterThan(29_000);
    expect(await a.ask(acquire(given[0], 'uuid:first'))).toMatchObject({ status: 200, fencingToken: 1 });
    rig.check();
  });

  it('just after it claimed goes to its heir, with whole TTLs', async () => {
    const { rig, lanes } = await held(20_000, 'a', 'b', 'c');
    const [a, b, c] = lanes;
    const bTerm = b.term;
    const slot = [...a.served].find((one) => ownerOf(one, [bTerm, c.term]) === bTerm)!;
    rig.atRecord(
      slot,
      (record) => record.owner === bTerm,
      () => b.kill(),
    );
    a.lane.reach(false);
    await serves(rig, c, [slot], 2 * LIMITS.leaseTtlMs);
    expect(b.served.has(slot)).toBe(false);
    expect(await leftMs(c, slot)).toBeGreaterThan(29_000);
    rig.check();
  });
});

describe('a giver that dies', () => {
  it('with its entry written has given the slot, and the times in it count', async () => {
    const { rig, lanes, grantedAt } = await held(20_000, 'a', 'b');
    const [a, b] = lanes;
    const [slot] = a.served;
    rig.atRecord(slot, GIVEN, () => a.kill());
    a.lane.reach(false);
    await serves(rig, b, [slot], SOON_MS);
    const until = rig.now + (await leftMs(b, slot));
    expect(Math.abs(until - (grantedAt + 30_000))).toBeLessThan(150);
    rig.check();
  });

  it('with its entry on the way that never arrives leaves the slot to its heir, with whole TTLs', async () => {
    const { rig, lanes } = await held(20_000, 'a', 'b');
    const [a, b] = lanes;
    const slots = [...a.served];
    // The first commit tells the term's new state, those after it would give slots away.
    const commits = vi.spyOn(a.connection, 'commit');
    commits.mockImplementation(async () => {
      await new Promise(() => undefined);
      throw new Error('never');
    });
    a.lane.reach(false);
    await rig.run(100);
    expect(commits).toHaveBeenCalled();
    expect(a.announcements.at(-1)!.kind).toBe('lost');
    a.killWithLease();
    await serves(rig, b, slots, LIMITS.termPollMs + SOON_MS);
    for (const slot of slots) expect(await leftMs(b, slot)).toBeGreaterThan(29_000);
    rig.check();
  });
});

describe('a lost reply', () => {
  it('of the entry that gives slots away is settled: the entry counts, its answers leave, nothing is given twice', async () => {
    const { rig, lanes, grantedAt } = await held(10_000, 'a', 'b');
    const [a, b] = lanes;
    const [slot] = a.served;
    const term = a.term;
    // An op on the slot leaves in the very entry: it is decided while another round is under way.
    const op: SlotOp = { ...acquire(slot, 'uuid:late'), name: 'other lock' };
    rig.atRecord(slot, GIVEN, () => (a.connection.deaf = true));
    a.lane.reach(false);
    const sent: number[] = [];
    while (a.served.has(slot)) {
      sent.push(...a.send([{ ...op, token: `uuid:${sent.length}`, name: `other ${sent.length}` }]));
      await rig.run(0.2);
    }
    await rig.run(200);
    expect(a.connection.deaf).toBe(true);
    // The other has heard of it by its watch, and serves it with what the entry carried.
    expect(b.served.has(slot)).toBe(true);
    const open = sent.filter((id) => !a.answers.has(id) && !a.bounced.includes(id));
    expect(open).not.toEqual([]);
    a.connection.deaf = false;
    await rig.run(LIMITS.commitTimeoutMs + LIMITS.callTimeoutMs + SOON_MS);
    for (const id of open) expect(a.answers.get(id)).toMatchObject({ status: 201 });
    for (const [i, id] of sent.entries()) {
      if (!a.answers.has(id)) continue;
      const again = await b.ask({ ...op, token: `uuid:${i}`, name: `other ${i}` });
      expect(again).toMatchObject({ fencingToken: a.answers.get(id)!.fencingToken });
    }
    expect(rig.now + (await leftMs(b, slot))).toBeLessThan(grantedAt + 30_000 + 150);
    expect(a.term).toBe(term);
    expect(b.served.size).toBe(SLOTS);
    expect(a.said('log').filter(({ message }) => message === 'term lost')).toEqual([]);
    rig.check();
  });

  it('of the entry that gives a slot away may come after the slot has come back and leaves again', async () => {
    setLimits({ settleMs: 20, termPollMs: 15, handoversOpenMax: SLOTS });
    const rig = await LaneRig.begin();
    const a = rig.start('a');
    await rig.run(1_500);
    a.send(allSlots().map((slot) => acquire(slot, 'uuid:first')));
    await rig.run(50);
    const commit = a.connection.commit.bind(a.connection);
    let answer = (): void => undefined;
    const late = new Promise<void>((resolve) => (answer = resolve));
    const commits = vi.spyOn(a.connection, 'commit').mockImplementationOnce(async (entry) => {
      const result = await commit(entry);
      await late;
      return result;
    });
    const b = rig.start('b');
    expect(await rig.until(() => b.served.size > 0, 1_000)).toBe(true);
    const [slot] = b.served;
    b.lane.reach(false);
    expect(await rig.until(() => a.served.has(slot), 100)).toBe(true);
    b.lane.reach(true);
    const [early] = a.send([acquire(slot, 'uuid:second')]);
    // The plan that gives it away again is made, and waits for the reply.
    await rig.run(100);
    expect([commits.mock.calls.length, a.answers.has(early), a.served.has(slot)]).toEqual([1, false, true]);
    answer();
    expect(await rig.until(() => b.served.has(slot), SOON_MS)).toBe(true);
    const said = a.answers.get(early)!;
    expect(said).toMatchObject({ code: 'lock_held', fencingToken: 1 });
    expect(Math.abs(said.at + said.expiresInMs - (rig.now + (await leftMs(b, slot))))).toBeLessThan(100);
    rig.check();
  });

  it('of the claim is found by the record: the slot is served, with whole TTLs', async () => {
    const { rig, lanes } = await held(20_000, 'a', 'b');
    const [a, b] = lanes;
    const slots = [...a.served];
    const txn = b.connection.txn.bind(b.connection);
    const lost = vi.spyOn(b.connection, 'txn').mockImplementationOnce(async (claim) => {
      expect((await txn(claim)).succeeded).toBe(true);
      throw new ShardError('unknown', 'the reply was lost');
    });
    a.lane.reach(false);
    await serves(rig, b, slots, LIMITS.termPollMs + SOON_MS);
    expect(lost.mock.calls.length).toBeGreaterThan(1);
    const claimed = new Set(lost.mock.calls[0][0].compares.map(({ key }) => Number(key.slice(-5))));
    expect(claimed.size).toBeGreaterThan(0);
    for (const slot of slots) {
      if (claimed.has(slot)) expect(await leftMs(b, slot)).toBeGreaterThan(29_000);
      else expect(await leftMs(b, slot)).toBeLessThan(11_000);
    }
    rig.check();
  });
});

describe('a slot whose state takes several commits', () => {
  const CLAIMS = 2_000;

  function large(slot: number, i: number): SlotOp {
    return acquire(slot, `uuid:${i}`, { name: `claim ${i}`, metadata: `{"m":"${'x'.repeat(1_000)}"}` });
  }

  it('leaves with all of it, is frozen from the first to the last, and is never half given', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [a, b] = lanes;
    const [slot] = a.served;
    const grantedAt = rig.now;
    for (let i = 0; i < CLAIMS; i += 100) {
      a.send(Array.from({ length: 100 }, (_, at) => large(slot, i + at)));
      await rig.run(5);
    }
    await rig.run(15_000);
    const from = rig.store.log.length;
    const [loss] = await giveAway(rig, a, b, slot);
    const parts = rig.store.log
      .slice(from)
      .filter(({ changes }) =>
        changes.some(({ key }) => key.startsWith(`holdfast/checkpoint/${String(slot).padStart(5, '0')}/`)),
      );
    expect(parts.length).toBeGreaterThan(1);
    const record = rig.record(slot);
    expect(record.checkpoint!.chunks).toBeGreaterThan(5);
    expect(record.checkpoint!.bytes).toBeGreaterThan(CLAIMS * 1_000);
    // Told lost when it was frozen, before the first part was written.
    expect(loss).toBeLessThanOrEqual(parts[0].at);
    const last = rig.store.log.findIndex(({ changes }) =>
      changes.some(
        ({ key, value }) =>
          key.endsWith(`slot/${String(slot).padStart(5, '0')}`) &&
          value !== undefined &&
          JSON.parse(Buffer.from(value).toString()).next === b.term,
      ),
    );
    expect(rig.store.log[last]).toBe(parts[parts.length - 1]);
    for (const i of [0, 777, CLAIMS - 1]) {
      const said = await b.ask({ ...large(slot, i), token: 'uuid:other' });
      expect(said).toMatchObject({ code: 'lock_held' });
      expect(rig.now + said.expiresInMs).toBeLessThan(grantedAt + 30_000 + 500);
    }
    await rig.run(grantedAt + 30_000 + ttlPadMs(30_000) + 1_000 - rig.now);
    expect(await b.ask({ ...large(slot, 5), token: 'uuid:other' })).toMatchObject({
      status: 201,
      fencingToken: 2 * CLAIMS + 1,
    });
    rig.check();
  });

  /** All of `a` goes to `b`; ops for `slot` come back all the while. Returns when its loss was told, and when it was served again. */
  async function giveAway(rig: LaneRig, a: RigLane, b: RigLane, slot: number): Promise<[number, number]> {
    a.lane.reach(false);
    expect(await rig.until(() => !a.served.has(slot), SOON_MS, 0.1)).toBe(true);
    const lost = rig.now;
    while (!b.served.has(slot)) {
      const [id] = a.send([large(slot, 1)]);
      expect(a.bounced).toContain(id);
      await rig.run(0.5);
      expect(rig.now - lost).toBeLessThan(1_000);
    }
    await rig.run(SOON_MS);
    return [lost, rig.now];
  }
});

describe('a dead term', () => {
  it('has one heir for all of its slots, who hands on by plan', async () => {
    const { rig, lanes } = await held(5_000, 'a', 'b', 'c', 'd');
    const d = lanes[3];
    const alive = lanes.slice(0, 3);
    const slots = [...d.served];
    const dead = d.term;
    const terms = alive.map(({ term }) => term);
    const heir = alive.find(({ term }) => term === heirOf(dead, terms))!;
    const others = alive.filter((lane) => lane !== heir).map(({ announcements }) => announcements.length);
    d.killWithLease();
    await serves(rig, heir, slots, LIMITS.termPollMs + SOON_MS);
    expect(heir.announcements.at(-1)!.slots.length).toBe(slots.length);
    await rig.run(LIMITS.settleMs - 2 * SOON_MS);
    expect(alive.filter((lane) => lane !== heir).map(({ announcements }) => announcements.length)).toEqual(
      others,
    );
    for (const slot of slots) expect(rig.record(slot).owner).toBe(heir.term);
    await rig.run(3 * SOON_MS + LIMITS.termPollMs);
    for (const slot of allSlots()) expect(rig.record(slot).owner).toBe(ownerOf(slot, terms));
    // What was promised when the heir took over holds with the next owner.
    for (const slot of slots) {
      const owner = alive.find(({ served }) => served.has(slot))!;
      const left = await leftMs(owner, slot);
      expect(left).toBeLessThan(30_000 - LIMITS.settleMs + 1_000);
      expect(left).toBeGreaterThan(30_000 - LIMITS.settleMs - 2_000);
    }
    rig.check();
  });

  it('has its slots served by the requests that wait for them first', async () => {
    const { rig, lanes } = await held(1_000, 'a', 'b');
    const [a, b] = lanes;
    const slots = [...b.served];
    const wanted = slots.slice(-3);
    a.lane.want(Uint16Array.from(wanted));
    const { length } = a.announcements;
    b.killWithLease();
    await serves(rig, a, slots, LIMITS.termPollMs + SOON_MS);
    const [first, second] = a.announcements.slice(length);
    expect([...first.slots].sort()).toEqual([...wanted].sort());
    expect(second.slots.length).toBe(slots.length - wanted.length);
    rig.check();
  });
});
