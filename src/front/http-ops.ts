/**
 * HTTP requests that become ops: one lock's acquire, renew, release, get and
 * verify, and batches. Each request is a connection of its own; the items of a
 * batch have ids 0 … n − 1.
 */
import type { Routing } from '../batch/routing.ts';
import type { Clock } from '../clock.ts';
import { CODES, codeOfWire, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, type Op } from '../op.ts';
import { Answer, type AnswerBytes, readAnswer, Section } from '../protocol/answer.ts';
import { detailOf, renderFault, renderOutcome, renderUnknown } from '../protocol/json-answer.ts';
import { ANYBODY } from '../protocol/caller.ts';
import { type Fields, JSON_OPS, NOT_YET, Place } from '../protocol/json-fields.ts';
import { type JsonRequest, OpBuilder } from '../protocol/json-request.ts';
import type { Connection, Connections } from './connections.ts';
import type { Exchange } from './exchange.ts';

export interface HttpContext {
  readonly connections: Connections;
  readonly routing: Routing;
  readonly clock: Clock;
}

const builder = new OpBuilder();
const answer = new Answer();

/** One lock's op; name and token come from path and header ('' = none). */
export function submitOne(
  context: HttpContext,
  exchange: Exchange,
  kind: number,
  name: Uint8Array,
  lockToken: string,
  fields: Fields,
): void {
  builder.clear();
  builder.begin(kind, '', ANYBODY);
  builder.nameBytes(name, 'path/name');
  if (kind === Kind.renew || kind === Kind.release) {
    if (lockToken === '')
      builder.problem('header/Holdfast-Lock-Token', 'missing: the lock token of the claim');
    else builder.token(lockToken, 'header/Holdfast-Lock-Token');
  }
  builder.fields(fields, Place.body, []);
  builder.end();
  if (builder.problems.length > 0) return exchange.malformed(builder.problems);
  if (context.connections.full(1)) return exchange.fault('overloaded');
  const single = new Single(context, exchange, builder.request());
  single.submit(builder.op);
}

const BATCH_FIELDS = ['ops', 'atomic'];
/** `waitMs` has a problem of its own in batches. */
const ITEM_SKIPPED = ['op', 'waitMs'];

export function submitBatch(context: HttpContext, exchange: Exchange, fields: Fields): void {
  for (const field of Object.keys(fields)) {
    if (!BATCH_FIELDS.includes(field)) exchange.problem(`/${field.slice(0, 64)}`, 'unknown field');
  }
  const { ops, atomic } = fields;
  if (atomic !== undefined && typeof atomic !== 'boolean') exchange.problem('/atomic', 'true or false');
  if (atomic === true) exchange.problem('/atomic', `atomic is ${NOT_YET}`);
  if (!Array.isArray(ops)) exchange.problem('/ops', 'an array of ops');
  else if (ops.length > LIMITS.batchOpsMax) exchange.problem('/ops', `at most ${LIMITS.batchOpsMax} ops`);
  if (exchange.problems.length > 0) return exchange.malformed();
  const items = ops as readonly unknown[];
  builder.clear();
  for (const [i, item] of items.entries()) buildItem(item, i);
  if (builder.problems.length > 0) return exchange.malformed(builder.problems);
  if (context.connections.full(items.length)) return exchange.fault('overloaded');
  if (items.length === 0) return exchange.json(200, '{"results":[]}');
  new Batch(context, exchange, items.length).submit(items);
}

/** Builds item `i`: once to check all before any is sent, and again to send it. */
function buildItem(item: unknown, i: number): void {
  const pointer = `/ops/${i}`;
  if (typeof item !== 'object' || item === null || Array.isArray(item)) {
    return builder.problem(pointer, 'an op is a JSON object');
  }
  const fields = item as Fields;
  const kind = typeof fields.op === 'string' ? JSON_OPS.get(fields.op) : undefined;
  if (kind === undefined)
    return builder.problem(`${pointer}/op`, `one of ${[...JSON_OPS.keys()].join(', ')}`);
  if (fields.waitMs !== undefined) builder.problem(`${pointer}/waitMs`, 'an op of a batch does not wait');
  builder.begin(kind, pointer, ANYBODY);
  builder.fields(fields, Place.item, ITEM_SKIPPED);
  builder.end();
}

/** What single requests and batches share: their place among the connections. */
abstract class HttpOps implements Connection {
  protected readonly context: HttpContext;
  protected readonly exchange: Exchange;
  protected readonly number: number;
  protected left: number;
  private readonly receivedAt: number;

  constructor(context: HttpContext, exchange: Exchange, ops: number) {
    this.context = context;
    this.exchange = exchange;
    this.left = ops;
    this.number = context.connections.add(this);
    this.receivedAt = context.clock.now();
    exchange.onAbort = () => this.leave();
    context.connections.open += ops;
  }

  answers(source: AnswerBytes, from: number, end: number): void {
    for (let at = from; at < end;) {
      at = readAnswer(source, at, answer);
      this.answered(source);
    }
  }

  abstract answered(source: AnswerBytes): void;

  abstract refuse(id: number, code: ErrorCode): void;

  flush(): void {}

  sweep(_now: number, overdue: number): void {
    if (this.receivedAt < overdue) this.giveUp();
  }

  shutDown(): void {
    this.giveUp();
  }

  /** Answers what is left with outcome_unknown. */
  protected abstract giveUp(): void;

  protected send(op: Op, id: number): void {
    op.id = id;
    op.connection = this.number;
    op.receivedAt = this.receivedAt;
    this.context.routing.submit(op);
  }

  /** Answered or aborted: what still comes for it is dropped. */
  protected leave(): void {
    this.context.connections.remove(this.number);
    this.context.connections.open -= this.left;
    this.left = 0;
  }
}

class Single extends HttpOps {
  private readonly request: JsonRequest;

  constructor(context: HttpContext, exchange: Exchange, request: JsonRequest) {
    super(context, exchange, 1);
    this.request = request;
  }

  submit(op: Op): void {
    this.send(op, 0);
  }

  answered(source: AnswerBytes): void {
    this.leave();
    const members = renderOutcome(source, answer, this.request);
    if (answer.code === 0) {
      if (members === '') this.exchange.empty(answer.status);
      else this.exchange.json(answer.status, `{${members}}`);
      return;
    }
    const retryAfterMs = answer.sections & Section.queue ? answer.retryAfterMs : 0;
    this.exchange.failed(codeOfWire(answer.code) ?? 'internal', members, retryAfterMs);
  }

  refuse(_id: number, code: ErrorCode): void {
    this.leave();
    this.exchange.fault(code);
  }

  protected giveUp(): void {
    this.leave();
    this.exchange.failed('outcome_unknown', renderUnknown(this.request), 0);
  }
}

class Batch extends HttpOps {
  private readonly requests: JsonRequest[] = [];
  private readonly results: string[];

  constructor(context: HttpContext, exchange: Exchange, ops: number) {
    super(context, exchange, ops);
    this.results = new Array<string>(ops).fill('');
  }

  submit(items: readonly unknown[]): void {
    for (const [i, item] of items.entries()) {
      buildItem(item, i);
      this.requests.push(builder.request());
      this.send(builder.op, i);
    }
  }

  answered(source: AnswerBytes): void {
    const { id, status } = answer;
    if (this.results[id] !== '') return;
    const members = renderOutcome(source, answer, this.requests[id]);
    this.result(id, status, members);
  }

  refuse(id: number, code: ErrorCode): void {
    const { retryAfterMs } = LIMITS;
    this.result(
      id,
      CODES[code].status,
      renderFault({ code, detail: detailOf(code), problems: [], retryAfterMs }),
    );
  }

  protected giveUp(): void {
    for (const [id, result] of this.results.entries()) {
      if (result === '') this.result(id, 504, renderUnknown(this.requests[id]));
    }
  }

  private result(id: number, status: number, members: string): void {
    this.results[id] = `{"status":${status}${members === '' ? '' : ','}${members}}`;
    this.left--;
    this.context.connections.open--;
    if (this.left > 0) return;
    this.leave();
    this.exchange.json(200, `{"results":[${this.results.join(',')}]}`);
  }
}
