/** Who may claim which record: what the claimant knows may be old, the Txn is what decides. */
import { describe, expect, it } from 'vitest';
import { type Claimant, claimSlots, livingTerms } from '../../src/lane/takeover.ts';
import { SlotView } from '../../src/lane/view.ts';
import { Placement } from '../../src/slots/placement.ts';
import {
  encodeRecord,
  encodeTermRecord,
  NEW_SLOT,
  slotKey,
  termKey,
  type SlotRecord,
  type TermRecord,
} from '../../src/slots/records.ts';
import { Domain } from '../sim/scheduler.ts';
import { allSlots, LaneRig } from './rig.ts';

const ME = 'a'.repeat(16);
const OTHER = 'b'.repeat(16);
const DEAD = 'd'.repeat(16);
const SLOT = 7;

function termRecord(process: string): TermRecord {
  return { process, address: '', version: '', lane: 0, born: 1, state: 'serving', seq: 0 };
}

function placed(...terms: readonly string[]): Placement {
  const placement = new Placement();
  placement.update(terms, 0);
  return placement;
}

/** A shard with the records given, all other slots OTHER's; ME and OTHER live. `knows`: the terms that ME has heard of. */
async function scene(
  records: Readonly<Record<number, Partial<SlotRecord>>>,
  knows: readonly string[] = [ME, OTHER],
  more: Partial<Claimant> = {},
) {
  const rig = await LaneRig.begin();
  const domain = new Domain('me');
  const { connection, clock } = rig.connect('me', domain);
  const write = (key: string, value: Uint8Array): void =>
    void rig.store.txn({ compares: [], changes: [{ put: key, value }] }, 'test');
  for (const term of [ME, OTHER]) write(termKey(term), encodeTermRecord(termRecord(term)));
  const set = (slot: number, record: Partial<SlotRecord>): void =>
    write(slotKey(slot), encodeRecord({ ...NEW_SLOT, ...record }));
  for (const slot of allSlots()) set(slot, records[slot] ?? { owner: OTHER });
  const play = async <T>(call: Promise<T>): Promise<T> => {
    await rig.run(100);
    return call;
  };
  const view = new SlotView(connection, clock.for(domain), () => undefined);
  await play(view.read());
  const living = new Map(knows.map((term) => [term, termRecord(term)]));
  const me: Claimant = {
    term: ME,
    living,
    placement: placed(...knows),
    early: false,
    nextSeq: () => 9,
    serves: () => false,
    hands: () => false,
    ...more,
  };
  const claim = () => play(claimSlots(connection, me, view));
  return { rig, connection, view, set, play, claim };
}

const MINE = { term: ME, from: 9, to: null };

describe('a slot', () => {
  it('that was handed to this term is claimed, also by one that has just begun, and its times count', async () => {
    for (const early of [false, true]) {
      const { rig, claim } = await scene({ [SLOT]: { next: ME } }, [ME, OTHER], { early });
      const record = { ...NEW_SLOT, owner: ME, next: null, segments: [MINE] };
      expect(await claim()).toEqual({ claimed: [{ slot: SLOT, record, direct: true }], complete: true });
      expect(rig.record(SLOT)).toEqual(record);
    }
  });

  it('that was handed to another is claimed by nobody else while that term lives', async () => {
    const { rig, claim } = await scene({ [SLOT]: { next: OTHER } });
    expect(await claim()).toEqual({ claimed: [], complete: true });
    expect(rig.record(SLOT)).toMatchObject({ owner: null, next: OTHER });
  });

  it('that was handed to a term that is over is claimed by its heir, with whole TTLs', async () => {
    const { claim } = await scene({ [SLOT]: { next: DEAD } }, [ME, OTHER], {
      placement: placed(ME),
    });
    expect(await claim()).toMatchObject({
      claimed: [{ slot: SLOT, direct: false, record: { owner: ME, next: null } }],
    });
  });

  it('of a term that is over is claimed by its heir alone, behind the segments that it had', async () => {
    const segments = [{ term: DEAD, from: 3, to: null }];
    const { rig, claim } = await scene({ [SLOT]: { owner: DEAD, segments } }, [ME, OTHER], {
      placement: placed(ME),
    });
    expect(await claim()).toMatchObject({ claimed: [{ slot: SLOT, direct: false }], complete: true });
    expect(rig.record(SLOT)).toMatchObject({ owner: ME, segments: [...segments, MINE] });
    const notHeir = await scene({ [SLOT]: { owner: DEAD } }, [ME, OTHER], { placement: placed(OTHER) });
    expect(await notHeir.claim()).toEqual({ claimed: [], complete: true });
  });

  it('that never had an owner is claimed by whom it falls to, once all lanes of the process are there', async () => {
    const none = Object.fromEntries(allSlots().map((slot) => [slot, {}]));
    const early = await scene(none, [ME, OTHER], { early: true });
    expect(await early.claim()).toEqual({ claimed: [], complete: true });
    const { rig, claim } = await scene(none);
    const { claimed } = await claim();
    expect(claimed.length).toBeGreaterThan(20);
    expect(claimed.length).toBeLessThan(44);
    expect(rig.owned(ME)).toEqual(claimed.map(({ slot }) => slot).sort((a, b) => a - b));
  });

  it('that names this term and is not served is served, with whole TTLs and without a Txn', async () => {
    const record = { owner: ME, segments: [MINE] };
    const { rig, claim } = await scene({ [SLOT]: record });
    const { revision } = rig.store;
    expect(await claim()).toMatchObject({ claimed: [{ slot: SLOT, direct: false, record }], complete: true });
    expect(rig.store.revision).toBe(revision);
    for (const busy of ['serves', 'hands']) {
      const serving = await scene({ [SLOT]: record }, [ME, OTHER], {
        [busy]: (slot: number) => slot === SLOT,
      });
      expect(await serving.claim()).toEqual({ claimed: [], complete: true });
    }
  });

  it('that is served is not claimed again by a term that does not know yet that it is over', async () => {
    for (const record of [{ owner: DEAD }, { next: DEAD }, { next: ME }]) {
      const { rig, claim } = await scene({ [SLOT]: record }, [ME, OTHER], {
        placement: placed(ME),
        serves: (slot) => slot === SLOT,
      });
      expect(await claim()).toEqual({ claimed: [], complete: true });
      expect(rig.record(SLOT)).toMatchObject(record);
    }
  });
});

describe('a claim', () => {
  it('of a slot whose owner lives, though this lane has not heard of it, fails and changes nothing', async () => {
    for (const record of [{ owner: OTHER }, { next: OTHER }]) {
      const { rig, claim } = await scene({ [SLOT]: record }, [ME], { serves: (slot) => slot !== SLOT });
      const { revision } = rig.store;
      expect(await claim()).toEqual({ claimed: [], complete: false });
      expect(rig.store.revision).toBe(revision);
    }
  });

  it('of a record that another changed meanwhile fails, and says that the view is old', async () => {
    const { rig, view, set, claim } = await scene({ [SLOT]: { next: ME } });
    view.close();
    set(SLOT, { owner: OTHER });
    expect(await claim()).toEqual({ claimed: [], complete: false });
    expect(rig.record(SLOT).owner).toBe(OTHER);
  });

  it('of many slots takes as many Txns as their bound asks for; one that fails does not undo the others', async () => {
    const dead = Object.fromEntries(allSlots().map((slot) => [slot, { owner: DEAD }]));
    const { rig, view, set, claim } = await scene(dead, [ME]);
    view.close();
    // The last slot is in the second Txn.
    set(63, { owner: OTHER });
    const { claimed, complete } = await claim();
    expect(complete).toBe(false);
    expect(claimed.map(({ slot }) => slot)).toEqual(allSlots().slice(0, 63));
    expect(rig.owned(OTHER)).toEqual([63]);
  });

  it('knows who lives by the keys that are there', async () => {
    const { connection, play } = await scene({});
    expect([...(await play(livingTerms(connection))).keys()].sort()).toEqual([ME, OTHER]);
  });
});
