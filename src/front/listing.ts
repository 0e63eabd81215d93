/**
 * `GET /v1/locks`: one page put together from a page of every term, of this
 * process and of others, that owns slots.
 *
 * Locks are listed by slot, then by the bytes of their name; a cursor is a
 * position in that order. Each term answers for its own slots only and may stop
 * early, so what all pages together are sure of ends at the earliest position
 * where one of them stopped. Slots change hands meanwhile: one that two pages
 * speak for is taken from the first of them, and where none does, the list
 * would have a gap and is none.
 */
import type { Share } from '../batch/shares.ts';
import { CODES, codeOfWire, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, Op } from '../op.ts';
import { Answer, type AnswerBytes, readAnswer } from '../protocol/answer.ts';
import { renderState } from '../protocol/json-answer.ts';
import { ListPage, readListCover, readListEntry, readListPage } from '../protocol/page.ts';
import { checkName, checkOwner, decodeText } from '../protocol/words.ts';
import type { Connection } from './connections.ts';
import type { Exchange } from './exchange.ts';
import type { HttpContext } from './http-ops.ts';
import { ListScope, type Position } from './scope.ts';
import { readQuery } from './target.ts';

const PARAMETERS = ['prefix', 'owner', 'limit', 'cursor'];

/** Of a position's key: it may be one byte longer than any key. */
const POSITION_BYTES_MAX = LIMITS.namespaceBytesMax + 1 + LIMITS.nameBytesMax + 1;

interface Query {
  readonly prefix: Buffer;
  readonly owner: Buffer;
  readonly limit: number;
  readonly from: Position;
}

interface Found extends Position {
  /** As JSON, without braces. */
  readonly members: string;
}

const GAP = 'Not every slot has an owner at the moment, so the list would have gaps.';

export function submitListing(context: HttpContext, exchange: Exchange): void {
  const query = readListQuery(exchange, context.routing.slots);
  if (query === undefined) return exchange.malformed();
  const scope = ListScope.of(exchange.identity, query.prefix);
  if (scope === undefined) return exchange.forbidden();
  const shares = context.routing.shares();
  if (shares.length === 0) return exchange.fault('shard_unavailable', GAP);
  if (context.connections.full(shares.length)) return exchange.fault('overloaded');
  new Listing(context, exchange, query, scope, shares.length).submit(shares);
}

function readListQuery(exchange: Exchange, slots: number): Query | undefined {
  const given = readQuery(exchange.query, PARAMETERS, exchange.problems);
  const prefix = Buffer.from(given.get('prefix') ?? '');
  if (prefix.length > 0 && checkPrefix(prefix) !== '') exchange.problem('query/prefix', checkPrefix(prefix));
  const owner = Buffer.from(given.get('owner') ?? '');
  const wrongOwner = checkOwner(owner, 0, owner.length);
  if (wrongOwner !== '') exchange.problem('query/owner', wrongOwner);
  const limitText = given.get('limit');
  const limit = limitText === undefined ? LIMITS.listLimitDefault : Number(limitText);
  if (!/^\d{1,4}$/.test(limitText ?? '1') || limit < 1 || limit > LIMITS.listLimitMax) {
    exchange.problem('query/limit', `an integer from 1 to ${LIMITS.listLimitMax}`);
  }
  const cursor = given.get('cursor');
  const from = cursor === undefined ? { slot: 0, key: Buffer.alloc(0) } : readCursor(cursor, slots);
  if (from === undefined) exchange.problem('query/cursor', 'a nextCursor of an earlier answer');
  return exchange.problems.length > 0 || from === undefined ? undefined : { prefix, owner, limit, from };
}

/** A prefix may be `.` or `..`: only whole names may not. */
function checkPrefix(prefix: Buffer): string {
  const longer = Buffer.concat([prefix, Buffer.from('x')]);
  return prefix.length === LIMITS.nameBytesMax
    ? checkName(prefix, 0, prefix.length)
    : checkName(longer, 0, longer.length);
}

/** The position's slot and key, in base64url: opaque to clients. */
function writeCursor({ slot, key }: Position): string {
  const head = Buffer.alloc(2);
  head.writeUInt16LE(slot);
  return Buffer.concat([head, key]).toString('base64url');
}

function readCursor(cursor: string, slots: number): Position | undefined {
  if (!/^[\w-]{3,800}$/.test(cursor)) return undefined;
  const bytes = Buffer.from(cursor, 'base64url');
  const position = { slot: bytes.readUInt16LE(0), key: bytes.subarray(2) };
  const sound = position.slot < slots && position.key.length <= POSITION_BYTES_MAX;
  return sound && writeCursor(position) === cursor ? position : undefined;
}

class Listing implements Connection {
  private readonly context: HttpContext;
  private readonly exchange: Exchange;
  private readonly query: Query;
  private readonly scope: ListScope;
  private readonly number: number;
  private readonly receivedAt: number;
  private readonly found: Found[] = [];
  /** By slot: 1 once a page spoke for it. */
  private readonly covered: Uint8Array;
  private readonly answer = new Answer();
  private readonly page = new ListPage();
  /** Where the list is sure to be whole up to; undefined: to its end. */
  private bound: Position | undefined;
  private left: number;

  constructor(context: HttpContext, exchange: Exchange, query: Query, scope: ListScope, pages: number) {
    this.context = context;
    this.exchange = exchange;
    this.query = query;
    this.scope = scope;
    this.left = pages;
    this.covered = new Uint8Array(context.routing.slots);
    this.receivedAt = context.clock.now();
    this.number = context.connections.add(this);
    context.connections.open += pages;
    exchange.onAbort = () => this.leave();
  }

  submit(shares: readonly Share[]): void {
    const { owner, limit, from } = this.query;
    const prefix = this.scope.keyPrefix;
    const { routing } = this.context;
    const op = new Op();
    op.bytes = Buffer.concat([prefix, owner, from.key]);
    op.kind = Kind.list;
    op.connection = this.number;
    op.receivedAt = this.receivedAt;
    op.keyLength = prefix.length;
    op.ownerAt = prefix.length;
    op.ownerLength = owner.length;
    op.metadataAt = op.ownerAt + owner.length;
    op.metadataLength = from.key.length;
    op.ttlMs = limit;
    op.fencingToken = from.slot;
    op.slot = from.slot;
    for (const [i, { here, lane, shard, term }] of shares.entries()) {
      op.id = i;
      op.hash = shard;
      const outcome = here || term === undefined ? 'here' : routing.forwardList(term, op);
      if (outcome === 'here') routing.submitTo(lane, op);
      else if (outcome !== 'taken') return this.fail(outcome === 'full' ? 'overloaded' : 'shard_unavailable');
    }
  }

  answers(source: AnswerBytes, from: number, end: number): void {
    for (let at = from; at < end && this.left > 0;) {
      at = readAnswer(source, at, this.answer);
      if (this.answer.code !== 0) return this.fail(codeOfWire(this.answer.code) ?? 'internal');
      this.addPage(source, this.answer.detailAt, this.answer.detailAt + this.answer.detailLength);
      this.left--;
      this.context.connections.open--;
      if (this.left === 0) this.finish();
    }
  }

  refuse(_id: number, code: ErrorCode): void {
    this.fail(code);
  }

  flush(): void {}

  sweep(_now: number, overdue: number): void {
    if (this.receivedAt < overdue) this.fail('shard_unavailable');
  }

  shutDown(): void {
    this.fail('draining');
  }

  private addPage(source: AnswerBytes, from: number, end: number): void {
    const { page, answer, scope } = this;
    const entries: Found[] = [];
    let at = readListPage(source, from, end, page);
    for (let i = 0; i < page.count; i++) {
      at = readListEntry(source, at, end, page, answer);
      const key = Buffer.from(source.bytes.subarray(page.keyAt, page.keyAt + page.keyLength));
      const nameBytes = scope.nameOf(key);
      const name = JSON.stringify(decodeText(nameBytes, 0, nameBytes.length));
      entries.push({ slot: page.slot, key, members: renderState(source, answer, name) });
    }
    const fresh = new Set(readListCover(source, at, end).filter((slot) => this.covered[slot] === 0));
    for (const slot of fresh) this.covered[slot] = 1;
    this.found.push(...entries.filter(({ slot, key }) => fresh.has(slot) && scope.shows(key)));
    if (page.next >= this.context.routing.slots) return;
    const last = entries[entries.length - 1];
    const key = last?.slot === page.next ? last.key : Buffer.alloc(0);
    const stopped = scope.clean({ slot: page.next, key });
    if (stopped.slot >= this.context.routing.slots) return;
    if (this.bound === undefined || compare(stopped, this.bound) < 0) this.bound = stopped;
  }

  private finish(): void {
    const { bound } = this;
    const sure = bound === undefined ? this.found : this.found.filter((lock) => compare(lock, bound) <= 0);
    sure.sort(compare);
    const shown = sure.slice(0, this.query.limit);
    const next = shown.length < sure.length ? shown[shown.length - 1] : bound;
    if (this.hasGap(next)) return this.fail('shard_unavailable', GAP);
    this.leave();
    const locks = shown.map((lock) => `{${lock.members}}`).join(',');
    const cursor = next === undefined ? '' : `,"nextCursor":"${writeCursor(next)}"`;
    this.exchange.json(200, `{"locks":[${locks}]${cursor}}`);
  }

  /** No page spoke for some slot before `next`. */
  private hasGap(next: Position | undefined): boolean {
    const { covered } = this;
    const upTo = next === undefined ? covered.length : next.slot + (next.key.length > 0 ? 1 : 0);
    return covered.subarray(this.query.from.slot, upTo).includes(0);
  }

  private fail(code: ErrorCode, detail?: string): void {
    this.leave();
    this.exchange.fault(CODES[code].status === 503 ? code : 'shard_unavailable', detail);
  }

  private leave(): void {
    this.context.connections.remove(this.number);
    this.context.connections.open -= this.left;
    this.left = 0;
  }
}

function compare(a: Position, b: Position): number {
  return a.slot - b.slot || Buffer.compare(a.key, b.key);
}
