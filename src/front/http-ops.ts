/**
 * HTTP requests that become one op: on one lock, or on a session. A request is
 * a connection of its own, or the target of whoever takes more than one op for
 * it (coordination.ts).
 */
import type { Routing } from '../batch/routing.ts';
import type { Clock } from '../clock.ts';
import { codeOfWire, type ErrorCode } from '../errors.ts';
import { Kind, type Op, OpFlag } from '../op.ts';
import { Answer, type AnswerBytes, readAnswer, Section } from '../protocol/answer.ts';
import { renderOutcome, renderUnknown } from '../protocol/json-answer.ts';
import { type Fields, Place } from '../protocol/json-fields.ts';
import { type JsonRequest, OpBuilder } from '../protocol/json-request.ts';
import type { KeyedTokens } from '../protocol/keyed-token.ts';
import type { Connection, Connections } from './connections.ts';
import { type Coordinators, type Handle, type Taker, takerOf, type Target } from './coordination.ts';
import type { Exchange } from './exchange.ts';

export interface HttpContext {
  readonly connections: Connections;
  readonly routing: Routing;
  readonly clock: Clock;
  readonly coordinators: Coordinators;
  readonly keyedTokens: KeyedTokens;
}

/** What request line and headers say of an op; '' and undefined: nothing. */
export interface OneRequest {
  readonly kind: number;
  /** Of the lock, as the path's bytes. */
  readonly name?: Uint8Array;
  readonly session?: string;
  readonly lockToken?: string;
  readonly idempotencyKey?: string;
  /** The query of a forced release. */
  readonly force?: ReadonlyMap<string, string>;
}

const TOKEN_POINTER = 'header/Holdfast-Lock-Token';
const builder = new OpBuilder();
const answer = new Answer();

export function submitOne(
  context: HttpContext,
  exchange: Exchange,
  request: OneRequest,
  fields: Fields,
): void {
  buildOne(context, exchange, request, fields);
  if (builder.problems.length > 0) return exchange.malformed(builder.problems);
  const { op } = builder;
  if (!exchange.identity.permits(op)) return exchange.forbidden();
  const taker = takerOf(op, context.coordinators);
  if (taker !== undefined) {
    op.receivedAt = context.clock.now();
    new Coordinated(exchange, builder.request()).submit(op, taker);
  } else if (context.connections.full(1)) {
    exchange.fault('overloaded');
  } else {
    new Single(context, exchange, builder.request()).submit(op);
  }
}

function buildOne(context: HttpContext, exchange: Exchange, request: OneRequest, fields: Fields): void {
  const { kind, name, session, lockToken = '', idempotencyKey = '', force } = request;
  builder.clear();
  builder.begin(kind, '', exchange.identity.caller);
  if (name !== undefined) builder.nameBytes(name, 'path/name');
  if (session !== undefined) builder.session(session, 'path/id');
  if (lockToken !== '') builder.token(lockToken, TOKEN_POINTER);
  else if (kind === Kind.renew || kind === Kind.release) {
    builder.problem(TOKEN_POINTER, 'missing: the lock token of the claim');
  }
  if (idempotencyKey !== '') builder.idempotencyKeyHeader(idempotencyKey);
  if (force !== undefined) builder.force(force);
  builder.fields(fields, Place.body, []);
  builder.end(context.keyedTokens);
  // A wait that is granted when its client has gone is given back, if nobody can know its token.
  if (kind === Kind.acquire && !('lockToken' in fields)) builder.op.flags |= OpFlag.madeToken;
}

/** Answers the request with what became of its op. */
function tell(exchange: Exchange, source: AnswerBytes, request: JsonRequest): void {
  const members = renderOutcome(source, answer, request);
  if (answer.code !== 0) {
    const retryAfterMs = answer.sections & Section.queue ? answer.retryAfterMs : 0;
    exchange.failed(codeOfWire(answer.code) ?? 'internal', members, retryAfterMs);
  } else if (members === '') exchange.empty(204);
  else exchange.json(answer.status, `{${members}}`);
}

function tellFault(exchange: Exchange, code: ErrorCode, request: JsonRequest): void {
  if (code === 'outcome_unknown') exchange.failed(code, renderUnknown(request), 0);
  else exchange.fault(code);
}

/** One op with one answer. */
class Single implements Connection {
  private readonly context: HttpContext;
  private readonly exchange: Exchange;
  private readonly request: JsonRequest;
  private readonly number: number;
  private readonly receivedAt: number;

  constructor(context: HttpContext, exchange: Exchange, request: JsonRequest) {
    this.context = context;
    this.exchange = exchange;
    this.request = request;
    this.number = context.connections.add(this);
    this.receivedAt = context.clock.now();
    context.connections.open++;
    exchange.onAbort = () => this.leave();
  }

  submit(op: Op): void {
    op.id = 0;
    op.connection = this.number;
    op.receivedAt = this.receivedAt;
    this.context.routing.submit(op);
  }

  answers(source: AnswerBytes, from: number): void {
    readAnswer(source, from, answer);
    this.leave();
    tell(this.exchange, source, this.request);
  }

  refuse(_id: number, code: ErrorCode): void {
    this.leave();
    this.exchange.fault(code);
  }

  flush(): void {}

  sweep(_now: number, overdue: number): void {
    if (this.receivedAt < overdue) this.giveUp();
  }

  shutDown(): void {
    this.giveUp();
  }

  private giveUp(): void {
    this.leave();
    tellFault(this.exchange, 'outcome_unknown', this.request);
  }

  /** Answered or aborted, once: what still comes for it is dropped. */
  private leave(): void {
    this.context.connections.remove(this.number);
    this.context.connections.open--;
  }
}

/** A wait, or a request of a session: HTTP tells its end only, and a client that goes away withdraws it. */
class Coordinated implements Target {
  private readonly exchange: Exchange;
  private readonly request: JsonRequest;

  constructor(exchange: Exchange, request: JsonRequest) {
    this.exchange = exchange;
    this.request = request;
  }

  submit(op: Op, taker: Taker): void {
    const handle: Handle | undefined = taker.submit(op, this);
    if (handle === undefined) this.exchange.fault('overloaded');
    else this.exchange.onAbort = () => handle.leave();
  }

  interim(): void {}

  final(source: AnswerBytes, at: number): void {
    readAnswer(source, at, answer);
    tell(this.exchange, source, this.request);
  }

  refused(code: ErrorCode): void {
    tellFault(this.exchange, code, this.request);
  }
}
