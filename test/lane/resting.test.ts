/** A lane with nothing to do wakes up seldom, and is there as soon as there is something. */
import { describe, expect, it, vi } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { ModelConnection } from '../sim/model-connection.ts';
import type { LaneRig, RigLane } from './rig.ts';
import { alone, claim, wait } from './standing-rig.ts';

const TTL_MS = 5_000;
const ENDS_MS = TTL_MS + ttlPadMs(TTL_MS);

/** How often it looked after its claims and requests within `ms`. */
async function ticks(rig: LaneRig, a: RigLane, ms: number): Promise<number> {
  const before = a.progress;
  await rig.run(ms);
  return a.progress - before;
}

describe('a lane that rests', () => {
  it('looks after its claims a few times a second, and asks the store once', async () => {
    const { rig, a } = await alone();
    const asked = vi.spyOn(ModelConnection.prototype, 'changedAfter');
    const found = await ticks(rig, a, 10_000);
    expect(found).toBeGreaterThanOrEqual(10_000 / LIMITS.laneRestMs - 1);
    expect(found).toBeLessThan(1.2 * (10_000 / LIMITS.laneRestMs));
    expect(asked.mock.calls.length).toBeLessThan(1.5 * (10_000 / LIMITS.termPollAloneMs));
  });

  it('looks every few ms while there are requests, and shortly after', async () => {
    const { rig, a } = await alone();
    let found = 0;
    for (let i = 0; i < 20; i++) {
      a.send([claim(`x${i}`, { name: `lock ${i}` })]);
      found += await ticks(rig, a, 50);
    }
    expect(found).toBeGreaterThan((0.7 * 20 * 50) / LIMITS.laneTickMs);
  });

  it('ends a wait in time that came while it rested', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('x'));
    for (let i = 0; i < 10; i++) {
      await rig.run(1_000 + 7 * i);
      const sentAt = rig.now;
      const { at, code } = await a.ask(wait('y', { waitMs: 30 }));
      expect(code).toBe('wait_timeout');
      expect(at - sentAt).toBeLessThan(30 + 3 * LIMITS.laneTickMs);
    }
    rig.checkRun();
  });

  it('frees a claim in time that ends while it rests', async () => {
    const { rig, a } = await alone();
    const { at } = await a.ask(claim('x', { ttlMs: TTL_MS }));
    expect(await ticks(rig, a, at + ENDS_MS - LIMITS.laneRestMs - rig.now)).toBeLessThan(40);
    await rig.run(at + ENDS_MS - 30 - rig.now);
    expect(await a.ask(claim('y'))).toMatchObject({ status: 409 });
    await rig.run(at + ENDS_MS + 3 * LIMITS.laneTickMs - rig.now);
    expect(await a.ask(claim('y'))).toMatchObject({ status: 201 });
    rig.checkRun();
  });

  it('frees one in time whose end was not known when it began to rest', async () => {
    const { rig, a } = await alone();
    const freed: number[] = [];
    for (let i = 0; i < 20; i++) {
      await rig.run(1_000 + 13 * i);
      const { at } = await a.ask(claim('x', { name: `lock ${i}`, ttlMs: 1_000 }));
      await rig.run(at + 1_000 + ttlPadMs(1_000) + 3 * LIMITS.laneTickMs - rig.now);
      freed.push((await a.ask(claim('y', { name: `lock ${i}` }))).status);
    }
    expect(freed).toEqual(Array(20).fill(201));
    rig.checkRun();
  });
});
