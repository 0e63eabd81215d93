/** What is in a slot, in words. */
import type { EndedTokens } from '../../src/lock/ended-tokens.ts';
import { RowKind } from '../../src/lock/rows.ts';
import type { Slot } from '../../src/lock/slot.ts';
import { MODE_NAMES } from '../../src/op.ts';

const decoder = new TextDecoder();

export interface ClaimWords {
  readonly fencingToken: number;
  readonly token: string;
  readonly ttlMs: number;
  readonly owner: string;
  readonly metadata: string;
  readonly promisedUntil: number;
  readonly freeAt: number;
}

export interface RowWords extends ClaimWords {
  readonly kind: string;
  readonly name: string;
  readonly principal: string;
  readonly mode: string;
  readonly limit: number;
  readonly lockDelayMs: number;
  readonly keyed: boolean;
  /** Numbers of what it hangs on. */
  readonly session: number;
  readonly batch: number;
}

const KIND_NAMES = Object.fromEntries(Object.entries(RowKind).map(([name, kind]) => [kind, name]));
const KEYED = 0x20;

export function rowInWords(slot: Slot, row: number): RowWords {
  const { claims } = slot;
  const slice = (at: number, length: number): Uint8Array => claims.bytes.slice(at, at + length);
  const text = (at: number, length: number): string => decoder.decode(slice(at, length));
  const latin1 = (at: number, length: number): string => Buffer.from(slice(at, length)).toString('latin1');
  const kind = claims.kind(row);
  const hasName = kind === RowKind.claim || kind === RowKind.waiter || kind === RowKind.delay;
  const key = hasName ? text : latin1;
  return {
    kind: KIND_NAMES[kind],
    name: key(claims.keyAt(row), claims.keyLength(row)),
    fencingToken: claims.fencingToken(row),
    token: latin1(claims.tokenAt(row), claims.tokenLength(row)),
    ttlMs: claims.ttlMs(row),
    owner: text(claims.ownerAt(row), claims.ownerLength(row)),
    metadata: text(claims.metadataAt(row), claims.metadataLength(row)),
    principal: text(claims.principalAt(row), claims.principalLength(row)),
    mode: MODE_NAMES[claims.mode(row)],
    limit: claims.limit(row),
    lockDelayMs: slot.aside.lockDelays.get(row) ?? 0,
    keyed: (claims.flags(row) & KEYED) !== 0,
    session: claims.stub(row) === 0 ? 0 : claims.fencingToken(claims.stub(row)),
    batch: claims.batch(row) === 0 ? 0 : claims.fencingToken(claims.batch(row)),
    promisedUntil: claims.promisedUntil(row),
    freeAt: claims.freeAt(row),
  };
}

/** All rows, by number. */
export function rowsOf(slot: Slot): RowWords[] {
  const rows = [...slot.claims.rows()].map((row) => rowInWords(slot, row));
  if (rows.length !== slot.claims.count)
    throw new Error(`${rows.length} rows were walked, ${slot.claims.count} counted`);
  return rows.sort((a, b) => a.fencingToken - b.fencingToken);
}

/** The only claim of each lock by name, for histories in which no lock has several. */
export function claimsOf(slot: Slot): Map<string, ClaimWords> {
  const found = new Map<string, ClaimWords>();
  for (const { kind, name, fencingToken, token, ttlMs, owner, metadata, promisedUntil, freeAt } of rowsOf(
    slot,
  )) {
    if (kind === 'claim')
      found.set(name, { fencingToken, token, ttlMs, owner, metadata, promisedUntil, freeAt });
  }
  return found;
}

/** Everything that a checkpoint or the journal carries, in an order of its own: equal states give equal text. */
export function durableState(slot: Slot): unknown {
  const { claims } = slot;
  const rows = rowsOf(slot).map(({ promisedUntil: _promised, freeAt: _free, ...rest }) => rest);
  const numbers = (of: Iterable<number>): number[] => [...of].map((row) => claims.fencingToken(row));
  const locks = [...new Set(slot.aside.crowds.values())]
    .map(({ holders, waiters, delay, first }) => ({
      name: rowInWords(slot, first).name,
      holders: numbers(holders),
      waiters: numbers(waiters),
      delay: delay === 0 ? 0 : claims.fencingToken(delay),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const sessions = [...slot.aside.sessionSlots].map(([row, slots]) => ({
    number: claims.fencingToken(row),
    slots: [...slots],
  }));
  sessions.sort((a, b) => a.number - b.number);
  const onStubs = [...slot.aside.onStub]
    .map(([stub, on]) => [claims.fencingToken(stub), numbers(on).sort((a, b) => a - b)] as const)
    .sort((a, b) => a[0] - b[0]);
  const wordsOf = (tokens: EndedTokens, table: number) => {
    const words: string[] = [];
    tokens.each(table, (low, high) => words.push(`${high}:${low}`));
    return words;
  };
  const ended = wordsOf(slot.ended, slot.tablePlace);
  const keyed = wordsOf(slot.aside.endedKeyed, 0);
  const counts = { held: claims.held, waiting: claims.waiting, textBytes: claims.textBytes };
  return { counter: slot.counter, rows, locks, sessions, onStubs, ended, keyed, counts };
}
