import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClaimSource, ClaimTable } from '../../src/lock/claims.ts';
import { MODE_UNIT, RowFlag } from '../../src/lock/rows.ts';
import { Mode } from '../../src/op.ts';

interface Fields {
  readonly key: string;
  readonly token: string;
  readonly owner: string;
  readonly metadata: string;
  readonly hash: number;
}

const encoder = new TextEncoder();

function source(fields: Fields): ClaimSource {
  const texts = [fields.key, fields.token, fields.owner, fields.metadata];
  const [key, token, owner, metadata] = texts.map((text) => encoder.encode(text).length);
  return {
    bytes: encoder.encode(`##${texts.join('')}`),
    hash: fields.hash,
    keyAt: 2,
    keyLength: key,
    tokenAt: 2 + key,
    tokenLength: token,
    ownerAt: 2 + key + token,
    ownerLength: owner,
    metadataAt: 2 + key + token + owner,
    metadataLength: metadata,
    principalAt: 0,
    principalLength: 0,
    limit: 0,
  };
}

function fields(key: string, more: Partial<Fields> = {}): Fields {
  return { key, token: `token ${key.slice(-9)}`, owner: '', metadata: '', hash: spread(key), ...more };
}

function spread(key: string): number {
  let hash = 17;
  for (const byte of encoder.encode(key)) hash = Math.imul(hash ^ byte, 0x85ebca6b);
  return hash >>> 0;
}

function find(claims: ClaimTable, key: string, hash = spread(key)): number {
  const bytes = encoder.encode(key);
  return claims.find(bytes, 0, bytes.length, hash);
}

function read(claims: ClaimTable, row: number): Fields {
  const slice = (at: number, length: number) => Buffer.from(claims.bytes.slice(at, at + length)).toString();
  return {
    key: slice(claims.keyAt(row), claims.keyLength(row)),
    token: slice(claims.tokenAt(row), claims.tokenLength(row)),
    owner: slice(claims.ownerAt(row), claims.ownerLength(row)),
    metadata: slice(claims.metadataAt(row), claims.metadataLength(row)),
    hash: claims.hash(row) >>> 0,
  };
}

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
      const { cells } = claims as unknown as { cells: Int32Array };
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

const KEYS = Array.from({ length: 400 }, (_, i) => (i % 7 === 0 ? 'k'.repeat(i) : '') + String(i));

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

/** A table, and a Map that ought to hold the same. */
class TablePair {
  private readonly claims = new ClaimTable();
  private readonly map = new Map<string, { row: number; fields: Fields }>();
  private readonly sameHash: number | null;
  private counter = 0;

  constructor(sameHash: number | null) {
    this.sameHash = sameHash;
  }

  step(what: string, index: number, size: number): void {
    const key = KEYS[index];
    const before = this.map.get(key);
    if (what === 'fill' || what === 'empty') {
      for (let i = 0; i < (what === 'fill' ? index : 400); i++)
        this.step(what === 'fill' ? 'insert' : 'remove', i, size);
    } else if (what === 'insert') {
      if (before !== undefined) return;
      const made = fields(key, {
        metadata: 'm'.repeat(size),
        owner: 'o'.repeat(size >> 2),
        hash: this.hash(key),
      });
      this.map.set(key, { row: this.claims.insert(source(made), ++this.counter, 1_000), fields: made });
    } else if (before !== undefined && what === 'remove') {
      this.claims.remove(before.row);
      this.map.delete(key);
    } else if (before !== undefined) {
      const metadata = 'n'.repeat(size);
      this.claims.setMetadata(before.row, encoder.encode(metadata), 0, size);
      this.map.set(key, { row: before.row, fields: { ...before.fields, metadata } });
    }
  }

  compare(): void {
    const { claims, map } = this;
    expect(claims.count).toBe(map.size);
    const rows = [...claims.rows()];
    expect(rows.length).toBe(map.size);
    expect(new Set(rows)).toEqual(new Set([...map.values()].map(({ row }) => row)));
    let bytes = 0;
    for (const key of KEYS) {
      const known = map.get(key);
      expect(find(claims, key, this.hash(key))).toBe(known?.row ?? 0);
      if (known === undefined) continue;
      expect(read(claims, known.row)).toEqual(known.fields);
      const { key: name, token, owner, metadata } = known.fields;
      bytes += name.length + token.length + owner.length + metadata.length;
    }
    expect(claims.textBytes).toBe(bytes);
  }

  private hash(key: string): number {
    return this.sameHash ?? spread(key);
  }
}
