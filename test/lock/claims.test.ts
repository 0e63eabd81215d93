import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClaimTable } from '../../src/lock/claims.ts';
import { MODE_UNIT, RowFlag } from '../../src/lock/rows.ts';
import { Mode } from '../../src/op.ts';
import { encoder, fields, find, read, source, spread, TablePair } from './table-rig.ts';

describe('a row', () => {
  it('keeps what it was filled with', () => {
    const claims = new ClaimTable();
    const wanted = fields('k', { owner: 'o'.repeat(256), metadata: 'm'.repeat(1_024), hash: 0xffff_ffff });
    const row = claims.insert(source(wanted), 2 ** 53 - 1, 86_400_000);
    expect(row).toBeGreaterThan(0);
    expect(read(claims, row)).toEqual(wanted);
    expect(find(claims, 'k', 0xffff_ffff)).toBe(row);
    expect(claims.findFenced(0xffff_ffff, 2 ** 53 - 1)).toBe(row);
    expect(claims.findFenced(0xffff_ffff, 1)).toBe(0);
    expect(claims.fencingToken(row)).toBe(2 ** 53 - 1);
    expect(claims.ttlMs(row)).toBe(86_400_000);
    expect(claims.promisedUntil(row)).toBe(0);
    expect(claims.freeAt(row)).toBe(Infinity);
    expect(claims.timerAt(row)).toBe(0);
    expect(claims.textBytes).toBe(1 + 7 + 256 + 1_024);
  });

  it('that is not the first of its lock is found by its number, until it is', () => {
    const claims = new ClaimTable();
    const first = claims.insert(source(fields('k')), 5, 1_000);
    const second = claims.insert(
      source(fields('k', { token: 'another' })),
      2 ** 40 + 7,
      1_000,
      RowFlag.byNumber,
    );
    expect(find(claims, 'k')).toBe(first);
    expect(claims.findFenced(spread('k'), 2 ** 40 + 7)).toBe(second);
    expect(claims.findFenced(spread('j'), 2 ** 40 + 7)).toBe(0);
    expect(claims.findFenced(spread('k'), 7)).toBe(0);
    claims.remove(first);
    expect(find(claims, 'k')).toBe(0);
    claims.becomeFirst(second);
    expect(find(claims, 'k')).toBe(second);
    expect(claims.findFenced(spread('k'), 2 ** 40 + 7)).toBe(second);
    claims.remove(second);
    expect([claims.count, claims.textBytes]).toEqual([0, 0]);
  });

  it('keeps what few rows have behind its texts, whatever their length', () => {
    for (let length = 1; length < 9; length++) {
      const claims = new ClaimTable();
      const from = { ...source(fields('k'.repeat(length), { owner: 'o' })), limit: 10_000 };
      const stub = claims.insert(source(fields('stub')), 1, 2_000);
      const batch = claims.insert(source(fields('batch')), 2, 3_000);
      const flags = RowFlag.onStub | RowFlag.pending | (Mode.semaphore * MODE_UNIT);
      const row = claims.insert(from, 3, 1_000, flags, stub, batch);
      expect([claims.stub(row), claims.batch(row), claims.limit(row)]).toEqual([stub, batch, 10_000]);
      claims.arm(batch, 2, 10, 20);
      claims.arm(stub, 1, 30, 40);
      expect([claims.hasOwnTime(row), claims.promisedUntil(row), claims.freeAt(row)]).toEqual([
        false,
        10,
        20,
      ]);
      expect(claims.arm(row, 3, 1, 1)).toBe(false);
      claims.setFlags(row, claims.flags(row) & ~RowFlag.pending);
      expect([claims.batch(row), claims.stub(row), claims.termMs(row)]).toEqual([0, stub, 2_000]);
      expect([claims.promisedUntil(row), claims.freeAt(row), claims.mode(row)]).toEqual([30, 40, 2]);
      claims.setMetadata(row, encoder.encode('{}'), 0, 2);
      expect([claims.metadataLength(row), claims.limit(row), claims.isPlain(row)]).toEqual([
        2,
        10_000,
        false,
      ]);
      expect(claims.isPlain(stub)).toBe(true);
    }
  });

  it('is armed only as the claim that it was then', () => {
    const claims = new ClaimTable();
    const row = claims.insert(source(fields('k')), 5, 1_000);
    claims.disarm(row);
    expect(claims.arm(row, 4, 10, 20)).toBe(false);
    expect(claims.arm(row, 5, 10, 20)).toBe(true);
    expect([claims.promisedUntil(row), claims.freeAt(row)]).toEqual([10, 20]);
    claims.remove(row);
    expect(claims.arm(row, 5, 10, 20)).toBe(false);
    const again = claims.insert(source(fields('j')), 6, 1_000);
    expect(again).toBe(row);
    expect(claims.arm(row, 5, 10, 20)).toBe(false);
    expect(claims.freeAt(row)).toBe(Infinity);
  });

  it('is armed by the last of the renewals under way, however many', () => {
    const claims = new ClaimTable();
    const row = claims.insert(source(fields('k')), 5, 1_000);
    for (let i = 0; i < 70_000; i++) claims.disarm(row);
    let armed = 0;
    for (let i = 1; i < 70_000; i++) armed += claims.arm(row, 5, i, i) ? 1 : 0;
    expect(armed).toBe(0);
    expect([claims.promisedUntil(row), claims.freeAt(row)]).toEqual([69_999, Infinity]);
    expect(claims.arm(row, 5, 70_000, 70_001)).toBe(true);
    expect([claims.promisedUntil(row), claims.freeAt(row)]).toEqual([70_000, 70_001]);
  });

  it('keeps its id when its metadata grows', () => {
    const claims = new ClaimTable();
    const row = claims.insert(source(fields('k')), 1, 1_000);
    for (const length of [1, 1_024, 9, 8, 0, 300]) {
      claims.setMetadata(row, encoder.encode('#'.repeat(2_000)), 7, length);
      expect(read(claims, row)).toEqual(fields('k', { metadata: '#'.repeat(length) }));
    }
    expect(find(claims, 'k')).toBe(row);
  });

  it('leaves its timer to the next claim of its block', () => {
    const claims = new ClaimTable();
    const row = claims.insert(source(fields('k')), 1, 1_000);
    claims.setTimerAt(row, 123_456.5);
    claims.remove(row);
    expect(claims.lives(row)).toBe(false);
    expect(claims.timerAt(row)).toBe(123_456.5);
    expect(claims.insert(source(fields('j')), 2, 1_000)).toBe(row);
    expect(claims.timerAt(row)).toBe(123_456.5);
  });
});

describe('a table', () => {
  it('holds what a Map would, whatever is done', () => {
    const hash = fc.constantFrom(0, 1, 0x8000_0000, 0xffff_ffff);
    const insert = fc.record({ do: fc.constant('insert' as const), key: fc.nat(399), size: fc.nat(1_024) });
    const update = fc.record({
      do: fc.constantFrom('remove', 'metadata'),
      key: fc.nat(399),
      size: fc.nat(1_024),
    });
    const flood = fc.record({ do: fc.constantFrom('fill', 'empty'), key: fc.nat(399), size: fc.nat(64) });
    const steps = fc.array(
      fc.oneof({ weight: 8, arbitrary: insert }, { weight: 8, arbitrary: update }, flood),
      {
        maxLength: 300,
        size: 'max',
      },
    );
    fc.assert(
      fc.property(steps, fc.option(hash), (history, sameHash) => {
        const table = new TablePair(sameHash);
        for (const step of history) table.step(step.do, step.key, step.size);
        table.compare();
      }),
      { numRuns: 100 },
    );
  });
});
