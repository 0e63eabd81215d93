/** What a lane tells its front of the slots that it gets and gives, and what it does with ops that were routed without knowing it. */
import { describe, expect, it, vi } from 'vitest';
import { ShardError } from '../../src/shard/store.ts';
import { termKey } from '../../src/slots/records.ts';
import { acquire, type Heard, LaneRig, type RigLane, SOON_MS } from './rig.ts';

function kinds(heard: readonly Heard[]): string[] {
  return heard.map(({ kind }) => kind);
}

/** The reply of the lane's next commit is lost, and what became of it can't be told until the returned function is called. */
function inDoubt({ connection, term }: RigLane): () => void {
  const commit = connection.commit.bind(connection);
  vi.spyOn(connection, 'commit').mockImplementationOnce(async (entry) => {
    await commit(entry);
    throw new ShardError('unknown', 'the reply was lost');
  });
  const txn = connection.txn.bind(connection);
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  vi.spyOn(connection, 'txn').mockImplementation(async (asked) => {
    if (asked.compares[0]?.key === termKey(term)) await ended;
    return txn(asked);
  });
  return end;
}

describe('an op', () => {
  it('that was routed before the front heard of the slot goes back; with the same batch known ones are decided', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [, b] = lanes;
    const first = b.announcements[0];
    const last = b.announcements[b.announcements.length - 1];
    expect(last.announcement).toBeGreaterThan(first.announcement);
    const [early] = first.slots;
    const [late] = last.slots;
    const [stale, known] = b.send([acquire(late, 'uuid:1'), acquire(early, 'uuid:1')], last.announcement - 1);
    expect(b.bounced).toEqual([stale]);
    await rig.run(50);
    expect(b.answers.get(known)).toMatchObject({ status: 201 });
    expect(b.answers.has(stale)).toBe(false);
    // Nothing has happened for it.
    expect(await b.ask(acquire(late, 'uuid:2'))).toMatchObject({ status: 201, fencingToken: 1 });
    rig.check();
  });

  it('for a slot that is given away goes back', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [a, b] = lanes;
    const [given] = b.served;
    for (const seen of [0, a.seen - 1, a.seen]) {
      a.bounced.length = 0;
      const [id] = a.send([acquire(given, 'uuid:1')], seen);
      expect(a.bounced).toEqual([id]);
    }
    rig.check();
  });

  it('that waits undecided when its slot leaves goes back, behind the loss and in the order of arrival', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [a, b] = lanes;
    const [slot, other] = a.served;
    const end = inDoubt(a);
    const [doubtful] = a.send([acquire(other, 'uuid:1')]);
    await rig.run(100);
    const ids = [1, 2, 3].map((i) => a.send([acquire(slot, `uuid:${i}`)])[0]);
    a.lane.reach(false);
    await rig.run(100);
    expect(a.answers.size).toBe(0);
    expect(a.bounced).toEqual([]);
    const before = rig.heard.length;
    end();
    await rig.run(SOON_MS);
    expect(a.answers.get(doubtful)).toMatchObject({ status: 201 });
    expect(a.bounced).toEqual(ids);
    const came = rig.heard.slice(before).filter(({ by }) => by === a);
    const lost = came.findIndex((said) => said.kind === 'lost' && said.slots.includes(slot));
    expect(came.findIndex(({ kind }) => kind === 'bounced')).toBeGreaterThan(lost);
    expect(await b.ask(acquire(slot, 'uuid:1'))).toMatchObject({ status: 201, fencingToken: 1 });
    rig.check();
  });
});

describe('a loss', () => {
  it('is settled by the first batch of a front that has heard of it, also an empty one', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [a] = lanes;
    const losses = a.announcements
      .filter(({ kind }) => kind === 'lost')
      .map(({ announcement }) => announcement);
    expect(losses.length).toBeGreaterThan(1);
    expect(a.said('settled')).toEqual([]);
    a.send([], losses[0] - 1);
    expect(a.said('settled')).toEqual([]);
    a.send([], losses[0]);
    // Each tells how far the front had heard, not farther: later batches may still be on their way.
    expect(a.said('settled').map(({ announcement }) => announcement)).toEqual([losses[0]]);
    const [given] = lanes[1].served;
    const before = rig.heard.length;
    a.send([acquire(given, 'uuid:1')], losses[losses.length - 1]);
    // What came back came first.
    expect(kinds(rig.heard.slice(before))).toEqual(['bounced', 'settled']);
    expect(a.said('settled').map(({ announcement }) => announcement)).toEqual([
      losses[0],
      losses[losses.length - 1],
    ]);
    // Once.
    a.send([]);
    a.send([]);
    expect(a.said('settled')).toHaveLength(2);
    rig.check();
  });

  it('of a term is announced and settled like any other', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [a, b] = lanes;
    a.send([]);
    const before = rig.heard.length;
    rig.store.endLease(rig.store.leaseOf(`holdfast/term/${a.term}`), 'test');
    expect(await rig.until(() => a.served.size === 0, 1_000)).toBe(true);
    const lost = a.announcements[a.announcements.length - 1];
    expect(lost.kind).toBe('lost');
    a.send([], lost.announcement - 1);
    expect(rig.heard.slice(before).filter(({ kind }) => kind === 'settled')).toEqual([]);
    a.send([], lost.announcement);
    expect(a.said('settled').at(-1)).toMatchObject({ announcement: lost.announcement });
    expect(await rig.until(() => a.served.size + b.served.size === 64, 2_000)).toBe(true);
    rig.check();
  });
});

describe('the map', () => {
  it('tells all living terms, and each change of an owner or of who was given a slot', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    await rig.run(SOON_MS);
    for (const lane of lanes) {
      const terms = lane.said('terms').at(-1)!.terms;
      expect(new Set(terms.map(({ id }) => id))).toEqual(new Set(lanes.map(({ term }) => term)));
      expect(terms.map(({ state }) => state)).toEqual(['serving', 'serving']);
      expect(new Set(terms.map(({ address }) => address))).toEqual(new Set(['a:1', 'b:1']));
      const map = new Map<number, string>();
      for (const told of lane.said('owners')) {
        for (const [i, slot] of told.slots.entries()) map.set(slot, told.terms[told.owners[i]]);
      }
      expect(map.size).toBe(64);
      for (const [slot, term] of map) expect(rig.record(slot).owner).toBe(term);
    }
    const [a, b] = lanes;
    const before = rig.heard.length;
    a.lane.reach(false);
    await rig.run(SOON_MS);
    const said = rig.heard.slice(before).filter(({ by }) => by === b);
    expect(said.some(({ kind }) => kind === 'owners')).toBe(true);
    const terms = b.said('terms').at(-1)!.terms;
    expect(terms.find(({ process }) => process === 'a')).toMatchObject({ state: 'isolated' });
    rig.check();
  });
});
