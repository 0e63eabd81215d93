/** Rows in words, and a table beside a Map that ought to hold the same. */
import { expect } from 'vitest';
import type { Arena } from '../../src/lock/arena.ts';
import { type ClaimSource, ClaimTable } from '../../src/lock/claims.ts';

export interface Fields {
  readonly key: string;
  readonly token: string;
  readonly owner: string;
  readonly metadata: string;
  readonly hash: number;
}

export const encoder = new TextEncoder();

export function source(fields: Fields): ClaimSource {
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

export function fields(key: string, more: Partial<Fields> = {}): Fields {
  return { key, token: `token ${key.slice(-9)}`, owner: '', metadata: '', hash: spread(key), ...more };
}

export function spread(key: string): number {
  let hash = 17;
  for (const byte of encoder.encode(key)) hash = Math.imul(hash ^ byte, 0x85ebca6b);
  return hash >>> 0;
}

export function find(claims: ClaimTable, key: string, hash = spread(key)): number {
  const bytes = encoder.encode(key);
  return claims.find(bytes, 0, bytes.length, hash);
}

export function read(claims: ClaimTable, row: number): Fields {
  const slice = (at: number, length: number) => Buffer.from(claims.bytes.slice(at, at + length)).toString();
  return {
    key: slice(claims.keyAt(row), claims.keyLength(row)),
    token: slice(claims.tokenAt(row), claims.tokenLength(row)),
    owner: slice(claims.ownerAt(row), claims.ownerLength(row)),
    metadata: slice(claims.metadataAt(row), claims.metadataLength(row)),
    hash: claims.hash(row) >>> 0,
  };
}

const KEYS = Array.from({ length: 400 }, (_, i) => (i % 7 === 0 ? 'k'.repeat(i) : '') + String(i));

/** A table, and a Map that ought to hold the same. */
export class TablePair {
  private readonly claims: ClaimTable;
  private readonly map = new Map<string, { row: number; fields: Fields }>();
  private readonly sameHash: number | null;
  private counter = 0;

  constructor(sameHash: number | null, arena?: Arena) {
    this.sameHash = sameHash;
    this.claims = new ClaimTable(arena);
  }

  /** The table is given up, and its Map with it. */
  dispose(): void {
    this.claims.dispose();
    this.map.clear();
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
