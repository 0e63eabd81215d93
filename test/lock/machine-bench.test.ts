import { expect, it } from 'vitest';
import { measureMachine } from '../../bench/machine.ts';
import { EFFECT_BYTES_MAX } from '../../src/lock/effects.ts';
import { expire } from '../../src/lock/machine.ts';
import { Wheel } from '../../src/lock/wheel.ts';
import { SlotRig } from './slot-rig.ts';

it('the micro benchmark runs, and a lock takes the journal bytes that it should', () => {
  const report = measureMachine(20_000, 8);
  for (const value of [report.acquireNs, report.pairNs, report.renewNs, report.getNs, report.expireNs]) {
    expect(value).toBeGreaterThan(0);
  }
  expect(report.pairJournalBytes).toBeLessThan(70);
  expect(report.pairJournalBytes).toBeGreaterThan(40);
});

it('claims that all end at once are taken in bites, and what comes in between is decided', () => {
  const wheel = new Wheel(0);
  const rigs = Array.from({ length: 8 }, () => new SlotRig());
  const claims = 2_000;
  for (const [table, rig] of rigs.entries()) {
    for (let i = 0; i < claims; i++) {
      rig.run({ kind: 'acquire', name: `n${i}`, token: `uuid:${i}`, ttlMs: 1_000 });
    }
    rig.trip();
    for (const row of rig.slot.claims.rows()) wheel.schedule(table, row, rig.slot.claims.freeAt(row));
  }
  const budget = 500;
  let bites = 0;
  for (let more = true; more; bites++) {
    let fired = 0;
    more = wheel.advance(3_000, budget, (table, row) => {
      fired++;
      const rig = rigs[table];
      if (rig.effects.room() < EFFECT_BYTES_MAX) rig.seal();
      expire(rig.slot, row, 3_000, rig.effects, rig.witness);
    });
    expect(fired).toBeLessThanOrEqual(budget);
    const rig = rigs[bites % rigs.length];
    rig.now = 3_000;
    expect(rig.run({ kind: 'acquire', name: `late ${bites}`, token: 'uuid:x' }).status).toBe(201);
  }
  expect(bites).toBeGreaterThanOrEqual((8 * claims) / budget);
  expect(rigs.reduce((sum, rig) => sum + rig.slot.claims.held, 0)).toBe(bites);
});
