/** Claims that end by time: very many at once, in bites between requests, and one while an answer about it is under way. */
import { describe, expect, it, vi } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { ShardError } from '../../src/shard/store.ts';
import { type LaneRig, type RigLane, setLimits } from './rig.ts';
import { alone, claim, entries, holdUp, journal, SLOT } from './standing-rig.ts';

const CLAIMS = 10_000;
const BATCH = 1_000;

/** Many claims of a second; returns when the last of them was granted. */
async function many(rig: LaneRig, a: RigLane): Promise<number> {
  const ids: number[] = [];
  for (let from = 0; from < CLAIMS; from += BATCH) {
    const some = Array.from({ length: BATCH }, (_, i) =>
      claim('x', { name: `lock ${from + i}`, ttlMs: 1_000 }),
    );
    ids.push(...a.send(some));
    await rig.run(10);
  }
  expect(await rig.until(() => ids.every((id) => a.answers.has(id)), 500)).toBe(true);
  return Math.max(...ids.map((id) => a.answers.get(id)!.at));
}

describe('claims that end at once', () => {
  it('are gone soon after their time', async () => {
    const { rig, a } = await alone();
    const last = await many(rig, a);
    const before = entries(rig);
    const ended = last + 1_000 + ttlPadMs(1_000);
    await rig.run(ended + 5 * LIMITS.laneTickMs - rig.now);
    expect(entries(rig) - before).toBeGreaterThan(1);
    const settled = entries(rig);
    await rig.run(LIMITS.termPollAloneMs + 100);
    expect([a.counters.held(0), entries(rig) - settled]).toEqual([0, 0]);
    const { places } = await a.ask({ kind: 'get', slot: SLOT, name: 'lock 0' });
    expect(places).toEqual([]);
    rig.checkRun();
  });

  it('leave room for requests in every round', async () => {
    setLimits({ entryBytesMax: 64 * 1024 });
    const { rig, a } = await alone();
    const last = await many(rig, a);
    await rig.run(last + 800 - rig.now);
    const before = entries(rig);
    const go = holdUp(a);
    // Some leave at once; the next round fills until the reply is there.
    await rig.run(200 + ttlPadMs(1_000) + 2 * LIMITS.laneTickMs);
    const [id] = a.send([claim('y', { name: 'a request' })]);
    await rig.run(1);
    go();
    await rig.run(50);
    expect(a.answers.get(id)).toMatchObject({ status: 201 });
    const written = journal(rig).slice(before);
    expect(written[1].length).toBeGreaterThan(15_000);
    expect(written.findIndex((entry) => entry.includes('a request'))).toBe(1);
    rig.checkRun();
  });
});

it('no answer promises a claim that ended while its round trip was repeated', async () => {
  const { rig, a } = await alone();
  const go = holdUp(a);
  const op = claim('x', { ttlMs: 1_000 });
  const [first] = a.send([op]);
  await rig.run(5);
  // Decided while the grant is under way; read when that is through, and in vain for longer than the TTL.
  const [again] = a.send([op]);
  let cut = (): void => undefined;
  const cutOff = new Promise<number>((_, reject) => {
    cut = () => reject(new ShardError('unknown', 'the connection was cut'));
  });
  const confirms = vi.spyOn(a.connection, 'confirm').mockImplementationOnce(() => cutOff);
  go();
  await rig.run(1_000 + ttlPadMs(1_000) + 100);
  expect([a.answers.get(first)?.status, a.answers.has(again), confirms.mock.calls.length]).toEqual([
    201,
    false,
    1,
  ]);
  cut();
  await rig.run(500);
  expect(a.answers.get(again)).toMatchObject({ status: 504, code: 'outcome_unknown' });
  expect(await a.ask(claim('y'))).toMatchObject({ status: 201 });
  rig.checkRun();
});
