/**
 * A lock with more than one row: several holders, or somebody who waits, or a
 * delay. Nearly all locks have one holder and no Crowd.
 *
 * A set keeps the order in which rows came: that of the grants, and of the queue.
 */
import type { ClaimTable } from './claims.ts';
import { latin1 } from './latin1.ts';
import { RowKind } from './rows.ts';

/** With more rows than this a token is looked up, not looked for. */
const ROWS_LOOKED_AT_MAX = 8;

export class Crowd {
  readonly holders = new Set<number>();
  readonly waiters = new Set<number>();
  /** The row of its lock delay, 0 = there is none. */
  delay = 0;
  /** The one row that is found by the lock's key. */
  first: number;
  /** Token (latin1) → row, once there are many. */
  private byToken: Map<string, number> | undefined;

  constructor(first: number) {
    this.first = first;
  }

  get size(): number {
    return this.holders.size + this.waiters.size + (this.delay === 0 ? 0 : 1);
  }

  /** Somebody holds the lock or waits for it: there is not only a delay. */
  get isUsed(): boolean {
    return this.holders.size > 0 || this.waiters.size > 0;
  }

  /** The row that takes the place of the first one. */
  eldest(): number {
    for (const row of this.holders) return row;
    for (const row of this.waiters) return row;
    return this.delay;
  }

  add(claims: ClaimTable, row: number): void {
    const kind = claims.kind(row);
    if (kind === RowKind.delay) {
      this.delay = row;
      return;
    }
    (kind === RowKind.waiter ? this.waiters : this.holders).add(row);
    this.byToken?.set(tokenOf(claims, row), row);
  }

  remove(claims: ClaimTable, row: number): void {
    if (this.delay === row) this.delay = 0;
    if (this.holders.delete(row) || this.waiters.delete(row)) this.byToken?.delete(tokenOf(claims, row));
  }

  /** The holder or waiter with this token, 0 = none. */
  find(claims: ClaimTable, bytes: Uint8Array, at: number, length: number): number {
    if (this.holders.size + this.waiters.size > ROWS_LOOKED_AT_MAX) {
      this.byToken ??= this.index(claims);
      return this.byToken.get(latin1(bytes, at, length)) ?? 0;
    }
    for (const row of this.holders) if (claims.hasToken(row, bytes, at, length)) return row;
    for (const row of this.waiters) if (claims.hasToken(row, bytes, at, length)) return row;
    return 0;
  }

  private index(claims: ClaimTable): Map<string, number> {
    const byToken = new Map<string, number>();
    for (const row of this.holders) byToken.set(tokenOf(claims, row), row);
    for (const row of this.waiters) byToken.set(tokenOf(claims, row), row);
    return byToken;
  }
}

function tokenOf(claims: ClaimTable, row: number): string {
  return latin1(claims.bytes, claims.tokenAt(row), claims.tokenLength(row));
}
