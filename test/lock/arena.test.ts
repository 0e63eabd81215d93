import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena, SLOTS_AN_ARENA } from '../../src/lock/arena.ts';
import { ClaimTable } from '../../src/lock/claims.ts';
import { fields, find, read, source, TablePair } from './table-rig.ts';

describe('an arena', () => {
  it('costs an empty table nothing, and a claim little', () => {
    const tables = [new ClaimTable(), new ClaimTable()];
    expect(tables[0].bytes.buffer).toBe(tables[1].bytes.buffer);
    expect(find(tables[0], 'k')).toBe(0);
    tables[0].insert(source(fields('k')), 1, 1_000);
    expect(tables[0].bytes.length).toBeLessThanOrEqual(1_024);
    expect(find(tables[1], 'k')).toBe(0);
  });

  it('takes less than 150 bytes a plain claim beside its name, the index and the timer included', () => {
    const timerBytes = 12;
    let worst = 0;
    for (let count = 2_000; count <= 4_000; count += 100) {
      const claims = new ClaimTable();
      for (let i = 0; i < count; i++) {
        const made = { ...source(fields(String(i).padStart(16, '0'))), tokenAt: 0, tokenLength: 16 };
        claims.insert(made, i + 1, 30_000);
      }
      const { cells } = claims.arena;
      worst = Math.max(worst, (claims.bytes.length + cells.byteLength) / count - 16 + timerBytes);
    }
    expect(worst).toBeLessThan(150);
    expect(worst).toBeGreaterThan(64 + 16);
  });

  it('is given back when it was large and has become empty', () => {
    const claims = new ClaimTable();
    for (let round = 1; round <= 3; round++) {
      const rows = Array.from({ length: 5_000 }, (_, i) =>
        claims.insert(source(fields(`key ${i}`)), i + 1, 1_000),
      );
      expect(claims.bytes.length).toBeGreaterThan(400_000);
      for (const row of rows) claims.remove(row);
      expect(claims.bytes.length).toBeLessThan(100);
      expect(claims.count).toBe(0);
      expect(claims.textBytes).toBe(0);
    }
  });

  it('knows no id from before it was given back, whatever lies there now', () => {
    const claims = new ClaimTable();
    const old = Array.from({ length: 1_000 }, (_, i) =>
      claims.insert(source(fields(`key ${i}`)), i + 1, 1_000),
    );
    for (const row of old) claims.remove(row);
    const rows = Array.from({ length: 1_000 }, (_, i) =>
      claims.insert(source(fields('x'.repeat(1 + (i % 90)) + i)), i + 1, 1_000),
    );
    const before = rows.map((row) => read(claims, row));
    for (const [i, row] of old.entries()) {
      expect(claims.lives(row)).toBe(false);
      expect(claims.is(row, i + 1)).toBe(false);
      expect(claims.arm(row, i + 1, 1, 1)).toBe(false);
      claims.setTimerAt(row, 99);
    }
    expect(rows.map((row) => read(claims, row))).toEqual(before);
    expect(rows.every((row) => claims.timerAt(row) === 0 && claims.freeAt(row) === Infinity)).toBe(true);
  });

  it('reuses what was freed instead of growing', () => {
    const claims = new ClaimTable();
    const insert = (i: number) => {
      const key = `key ${String(i).padStart(5 + (i % 10), '0')}`;
      return claims.insert(source(fields(key, { metadata: 'm'.repeat(i % 50) })), i + 1, 1_000);
    };
    const rows = Array.from({ length: 1_000 }, (_, i) => insert(i));
    const size = claims.bytes.length;
    for (let i = 1_000; i < 21_000; i++) {
      claims.remove(rows[i % 1_000]);
      rows[i % 1_000] = insert(i % 5_000);
    }
    expect(claims.bytes.length).toBeLessThan(size * 1.3);
  });

  it('takes a larger free block before it grows, and gives it back as what it is', () => {
    const claims = new ClaimTable();
    const insert = (i: number, size: number) =>
      claims.insert(source(fields(`key ${i}`, { metadata: 'm'.repeat(size) })), i, 1_000);
    let rows: number[] = [];
    const size = () => claims.bytes.length;
    for (let i = 1000; size() < 20_000; i++) rows.push(insert(i, 100));
    const full = size();
    for (let round = 0; round < 20; round++) {
      // The last row is kept: an arena without any would be given back.
      for (const row of rows.slice(0, -1)) claims.remove(row);
      const kept = rows[rows.length - 1];
      const metadataSize = round % 2 === 0 ? 60 : 100;
      rows = [...rows.slice(0, -1).map((_, i) => insert(2_000 + 100 * round + i, metadataSize)), kept];
    }
    expect(size()).toBe(full);
  });
});

describe('tables that share an arena', () => {
  it('do not touch each other, and one that is given up leaves its room to the others', () => {
    const step = fc.record({
      table: fc.nat(2),
      do: fc.constantFrom('insert', 'insert', 'insert', 'remove', 'metadata', 'fill', 'empty', 'dispose'),
      key: fc.nat(399),
      size: fc.nat(64),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (history) => {
        const arena = new Arena();
        const tables = [0, 1, 2].map(() => new TablePair(null, arena));
        for (const { table, do: what, key, size } of history) {
          if (what === 'dispose') tables[table].dispose();
          else tables[table].step(what, key, size);
        }
        for (const table of tables) table.compare();
        for (const table of tables) table.dispose();
        expect(arena.bytes.length).toBeLessThanOrEqual(65_536);
      }),
      { numRuns: 100 },
    );
  });

  it('know whose a row is, also when another table has its block now', () => {
    const arena = new Arena();
    const [a, b] = [new ClaimTable(arena), new ClaimTable(arena)];
    const row = a.insert(source(fields('k')), 7, 1_000);
    a.setTimerAt(row, 1_234);
    a.remove(row);
    expect(arena.tableOf(row)).toBe(a.tablePlace);
    expect(b.insert(source(fields('j')), 7, 1_000)).toBe(row);
    expect([a.lives(row), a.is(row, 7), a.arm(row, 7, 1, 1)]).toEqual([false, false, false]);
    expect([b.lives(row), b.is(row, 7), arena.tableOf(row)]).toEqual([true, true, b.tablePlace]);
    expect(b.freeAt(row)).toBe(Infinity);
    expect(arena.timerAt(row)).toBe(1_234);
    const wanted = fields('k'.repeat(1_024), { owner: 'o'.repeat(256) });
    expect(read(b, b.insert(source(wanted), 8, 1_000))).toEqual(wanted);
  });

  it('are no more than their rows can tell apart', () => {
    const arena = new Arena();
    for (let i = 0; i < SLOTS_AN_ARENA; i++) expect(new ClaimTable(arena).tablePlace).toBe(i);
    expect(() => new ClaimTable(arena)).toThrow(RangeError);
  });

  it('use what the others gave up instead of growing', () => {
    const arena = new Arena();
    const fill = (): ClaimTable => {
      const claims = new ClaimTable(arena);
      for (let i = 0; i < 1_000; i++) claims.insert(source(fields(`key ${i}`)), i + 1, 1_000);
      return claims;
    };
    fill();
    let other = fill();
    const size = arena.bytes.length;
    for (let round = 0; round < 20; round++) {
      other.dispose();
      expect([other.count, other.textBytes, [...other.rows()].length]).toEqual([0, 0, 0]);
      other = fill();
    }
    expect(arena.bytes.length).toBe(size);
  });
});
