/**
 * `POST /v1/batch`: many ops in one request. A batch is one connection, its
 * items have the ids 0 … n − 1; an atomic one goes to whoever takes those.
 *
 * Items on one name take effect in their order. Ops go to their lane in order
 * anyway, but an acquire in a session takes several steps: what follows on the
 * same name is sent when it is done.
 */
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, type Op } from '../op.ts';
import { Answer, type AnswerBytes, readAnswer } from '../protocol/answer.ts';
import type { CallerBytes } from '../protocol/caller.ts';
import { detailOf, renderFault, renderOutcome, renderUnknown } from '../protocol/json-answer.ts';
import { type Fields, JSON_OPS, Place } from '../protocol/json-fields.ts';
import { type JsonRequest, OpBuilder } from '../protocol/json-request.ts';
import { AtomicExchange } from './atomic-exchange.ts';
import { NOT_ALLOWED } from './auth.ts';
import type { Connection } from './connections.ts';
import { type Handle, takerOf, type Target } from './coordination.ts';
import type { Exchange } from './exchange.ts';
import type { HttpContext } from './http-ops.ts';

const BATCH_FIELDS = ['ops', 'atomic'];
const ITEM_SKIPPED = ['op'];
const builder = new OpBuilder();
const answer = new Answer();

export function submitBatch(context: HttpContext, exchange: Exchange, fields: Fields): void {
  for (const field of Object.keys(fields)) {
    if (!BATCH_FIELDS.includes(field)) exchange.problem(`/${field.slice(0, 64)}`, 'unknown field');
  }
  const { ops, atomic } = fields;
  if (atomic !== undefined && typeof atomic !== 'boolean') exchange.problem('/atomic', 'true or false');
  if (!Array.isArray(ops)) exchange.problem('/ops', 'an array of ops');
  else if (ops.length > LIMITS.batchOpsMax) exchange.problem('/ops', `at most ${LIMITS.batchOpsMax} ops`);
  if (exchange.problems.length > 0) return exchange.malformed();
  const items = ops as readonly unknown[];
  builder.clear();
  const names = new Set<string>();
  for (const [i, item] of items.entries()) {
    buildItem(context, item, i, exchange.identity.caller);
    if (atomic !== true) continue;
    if (builder.op.kind !== Kind.acquire) {
      builder.problem(`/ops/${i}/op`, 'an atomic batch has acquires only');
    }
    if (builder.quotedName !== '' && names.has(builder.quotedName)) {
      builder.problem(`/ops/${i}/name`, 'an earlier op of this atomic batch has the same name');
    }
    names.add(builder.quotedName);
  }
  if (builder.problems.length > 0) return exchange.malformed(builder.problems);
  if (items.length === 0) return exchange.json(200, '{"results":[]}');
  if (atomic === true) return submitAtomic(context, exchange, items);
  if (context.connections.full(items.length)) return exchange.fault('overloaded');
  new Batch(context, exchange, items).submit();
}

/** Builds item `i`: once to check all before any is sent, and again to send it. */
function buildItem(context: HttpContext, item: unknown, i: number, caller: CallerBytes): void {
  const pointer = `/ops/${i}`;
  if (typeof item !== 'object' || item === null || Array.isArray(item)) {
    return builder.problem(pointer, 'an op is a JSON object');
  }
  const fields = item as Fields;
  const kind = typeof fields.op === 'string' ? JSON_OPS.get(fields.op) : undefined;
  if (kind === undefined)
    return builder.problem(`${pointer}/op`, `one of ${[...JSON_OPS.keys()].join(', ')}`);
  builder.begin(kind, pointer, caller);
  builder.fields(fields, Place.item, ITEM_SKIPPED);
  builder.end(context.keyedTokens);
}

function submitAtomic(context: HttpContext, exchange: Exchange, items: readonly unknown[]): void {
  const { identity } = exchange;
  const receivedAt = context.clock.now();
  const target = new AtomicExchange(exchange);
  const batch = context.coordinators.atomic.begin(target);
  if (batch === undefined) return exchange.fault('overloaded');
  for (const [i, item] of items.entries()) {
    buildItem(context, item, i, identity.caller);
    const { op } = builder;
    if (!identity.permits(op)) {
      batch.leave();
      return exchange.forbidden();
    }
    op.receivedAt = receivedAt;
    target.requests.push(builder.request());
    batch.add(op);
  }
  exchange.onAbort = () => batch.leave();
  batch.submit();
}

class Batch implements Connection {
  private readonly context: HttpContext;
  private readonly exchange: Exchange;
  private readonly items: readonly unknown[];
  private readonly number: number;
  private readonly receivedAt: number;
  private readonly requests: JsonRequest[] = [];
  private readonly results: string[];
  private left: number;
  /** Items that wait for an earlier one on their name; of names that one is under way for. */
  private readonly behind = new Map<string, number[]>();
  private readonly handles = new Map<number, Handle>();

  constructor(context: HttpContext, exchange: Exchange, items: readonly unknown[]) {
    this.context = context;
    this.exchange = exchange;
    this.items = items;
    this.left = items.length;
    this.results = new Array<string>(items.length).fill('');
    this.number = context.connections.add(this);
    this.receivedAt = context.clock.now();
    context.connections.open += items.length;
    exchange.onAbort = () => this.leave();
  }

  submit(): void {
    for (let i = 0; i < this.items.length; i++) {
      this.build(i);
      this.requests.push(builder.request());
      const before = this.behind.get(builder.quotedName);
      if (before === undefined) this.send(i);
      else before.push(i);
    }
  }

  answers(source: AnswerBytes, from: number, end: number): void {
    for (let at = from; at < end;) {
      at = readAnswer(source, at, answer);
      this.answered(answer.id, source);
    }
  }

  refuse(id: number, code: ErrorCode, detail = detailOf(code)): void {
    const { status, retryable } = CODES[code];
    const retryAfterMs = retryable ? LIMITS.retryAfterMs : 0;
    this.result(id, status, renderFault({ code, detail, problems: [], retryAfterMs }));
  }

  flush(): void {}

  sweep(_now: number, overdue: number): void {
    if (this.receivedAt < overdue) this.giveUp();
  }

  shutDown(): void {
    this.giveUp();
  }

  private build(i: number): void {
    builder.clear();
    buildItem(this.context, this.items[i], i, this.exchange.identity.caller);
  }

  /** The item that was built just now. */
  private send(i: number): void {
    const { op } = builder;
    if (!this.exchange.identity.permits(op)) return this.refuse(i, 'forbidden', NOT_ALLOWED);
    op.receivedAt = this.receivedAt;
    if (takerOf(op, this.context.coordinators) !== undefined) return this.sendInSteps(i, op);
    op.id = i;
    op.connection = this.number;
    this.context.routing.submit(op);
  }

  private sendInSteps(i: number, op: Op): void {
    const name = builder.quotedName;
    const handle = takerOf(op, this.context.coordinators)!.submit(op, this.targetOf(i, name));
    if (handle === undefined) return this.refuse(i, 'overloaded');
    this.handles.set(i, handle);
    if (!this.behind.has(name)) this.behind.set(name, []);
  }

  private targetOf(i: number, name: string): Target {
    return {
      interim: () => {},
      final: (source, at) => {
        readAnswer(source, at, answer);
        this.answered(i, source);
        this.goOn(i, name);
      },
      refused: (code) => {
        if (code === 'outcome_unknown') this.unknown(i);
        else this.refuse(i, code);
        this.goOn(i, name);
      },
    };
  }

  /** Item `i` is done: what stands behind it may go, up to the next one that takes several steps. */
  private goOn(i: number, name: string): void {
    this.handles.delete(i);
    const behind = this.behind.get(name) ?? [];
    for (let next = behind.shift(); next !== undefined; next = behind.shift()) {
      if (this.results[next] !== '') continue;
      this.build(next);
      // A token that the front makes is another one each time.
      this.requests[next] = builder.request();
      this.send(next);
      if (this.handles.has(next)) return;
    }
    this.behind.delete(name);
  }

  private answered(id: number, source: AnswerBytes): void {
    if (this.results[id] !== '') return;
    const { status } = answer;
    const members = renderOutcome(source, answer, this.requests[id]);
    this.result(id, status, members);
  }

  private unknown(id: number): void {
    this.result(id, CODES.outcome_unknown.status, renderUnknown(this.requests[id]));
  }

  /** Answers what is left with outcome_unknown. */
  private giveUp(): void {
    for (const [id, result] of this.results.entries()) if (result === '') this.unknown(id);
  }

  private result(id: number, status: number, members: string): void {
    if (this.results[id] !== '' || this.left === 0) return;
    this.results[id] = `{"status":${status}${members === '' ? '' : ','}${members}}`;
    this.left--;
    this.context.connections.open--;
    if (this.left > 0) return;
    this.leave();
    this.exchange.json(200, `{"results":[${this.results.join(',')}]}`);
  }

  /** Answered or aborted: what still comes for it is dropped. */
  private leave(): void {
    this.context.connections.remove(this.number);
    this.context.connections.open -= this.left;
    this.left = 0;
    for (const handle of this.handles.values()) handle.leave();
    this.handles.clear();
    this.behind.clear();
  }
}
