/**
 * One socket of holdfast.v1.json (API.md, WebSocket).
 *
 *   open ─► closed      by the client, a slow reader, the end of its API key
 *                       (1008), shutdown (1012)
 *
 * A request that came alone is answered by a frame of its own; requests of an
 * array are answered in arrays, in any grouping. Events come in frames of their
 * own. A frame that can't be read costs one answer with the id null, never the
 * socket.
 */
import { CODES, type ErrorCode, type Problem } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, type Op, OpFlag } from '../op.ts';
import { Answer, type AnswerBytes, FINAL_STATUS_MIN, readAnswer } from '../protocol/answer.ts';
import { detailOf, renderFault, renderOutcome, renderUnknown } from '../protocol/json-answer.ts';
import { renderPush } from '../protocol/json-event.ts';
import { type Fields, Place, SOCKET_OPS } from '../protocol/json-fields.ts';
import { type JsonRequest, OpBuilder } from '../protocol/json-request.ts';
import { type Identity, NOT_ALLOWED, NOT_VALID_ANY_MORE } from './auth.ts';
import type { SocketContext } from './binary-socket.ts';
import type { Connection } from './connections.ts';
import { type Taker, takerOf } from './coordination.ts';
import { JsonOutbox } from './json-outbox.ts';
import {
  type ClientId,
  CoordinatedRequest,
  quoted,
  type RequestHost,
  WatchRequest,
} from './json-requests.ts';
import type { Outlet } from './sending.ts';

interface OpenRequest {
  readonly clientId: ClientId;
  readonly request: JsonRequest;
  readonly receivedAt: number;
  readonly inArray: boolean;
}

const CLIENT_ID_MAX = 64;
const CLIENT_ID_ALLOWED = `id is an integer from 0 to 2^53 - 1 or a string of 1–${CLIENT_ID_MAX} characters`;
const SKIPPED = ['id', 'op'];

const builder = new OpBuilder();
const answer = new Answer();

export class JsonSocket implements Connection, RequestHost {
  private readonly context: SocketContext;
  private readonly outlet: Outlet;
  private readonly identity: Identity;
  private readonly number: number;
  /** Of one op, by the id that the lanes know; oldest first. */
  private readonly requests = new Map<number, OpenRequest>();
  /** Of more than one, and watches that stand, by the name as JSON. */
  private readonly coordinated = new Map<ClientId, CoordinatedRequest>();
  private readonly watches = new Map<string, WatchRequest>();
  /** Of requests that are not answered. */
  private readonly clientIds = new Set<ClientId>();
  private nextId = 0;
  /** Rendered answers until they are flushed. */
  private readonly outbox: JsonOutbox;
  private flushing = false;
  /** When the frame that is being taken had been read. */
  private receivedAt = 0;

  constructor(context: SocketContext, outlet: Outlet, identity: Identity) {
    this.context = context;
    this.outlet = outlet;
    this.outbox = new JsonOutbox(outlet);
    this.identity = identity;
    this.number = context.connections.add(this);
  }

  message(message: ArrayBuffer, isBinary: boolean): void {
    if (this.identity.revoked) return this.outlet.end(1008, NOT_VALID_ANY_MORE);
    this.flushing = true;
    this.receivedAt = this.context.clock.now();
    this.take(message, isBinary);
    this.flush();
  }

  answers(source: AnswerBytes, from: number, end: number): void {
    this.flushing = true;
    for (let at = from; at < end;) {
      at = readAnswer(source, at, answer);
      if (answer.status < FINAL_STATUS_MIN) {
        const push = renderPush(answer);
        if (push !== '') this.outbox.add(push, false);
        continue;
      }
      const open = this.finish(answer.id);
      if (open === undefined) continue;
      const members = renderOutcome(source, answer, open.request);
      this.answer(open.clientId, answer.status, members, open.inArray);
    }
    this.flush();
  }

  refuse(id: number, code: ErrorCode): void {
    const open = this.finish(id);
    if (open === undefined) return;
    this.fault(open.clientId, code, open.inArray, open.request);
    this.flushLater();
  }

  flush(): void {
    this.flushing = false;
    this.outbox.flush();
  }

  sweep(_now: number, overdue: number): void {
    for (const [id, open] of this.requests) {
      if (open.receivedAt >= overdue) break;
      this.refuse(id, 'outcome_unknown');
    }
  }

  shutDown(): void {
    this.flush();
    this.outlet.end(1012, 'this process is shutting down');
  }

  /** The socket is gone: it waits and watches no longer. What else is under way goes on, unheard. */
  closed(): void {
    this.outlet.gone();
    this.context.connections.remove(this.number);
    this.context.connections.open -= this.requests.size;
    this.requests.clear();
    for (const { handle } of [...this.coordinated.values(), ...this.watches.values()]) handle?.leave();
    this.coordinated.clear();
    this.watches.clear();
  }

  // ---- frames and requests

  private take(message: ArrayBuffer, isBinary: boolean): void {
    if (isBinary) return this.broken('bad_request', 'a binary frame on a JSON socket');
    if (message.byteLength > LIMITS.frameBytesMax) {
      return this.broken('too_large', `a frame has at most ${LIMITS.frameBytesMax} bytes`);
    }
    let value: unknown;
    try {
      value = JSON.parse(Buffer.from(message).toString('utf8'));
    } catch {
      return this.broken('bad_request', 'the frame is not JSON');
    }
    if (!Array.isArray(value)) return this.request(value, false);
    if (value.length === 0) return this.broken('bad_request', 'an array without requests');
    for (const one of value) this.request(one, true);
  }

  private request(value: unknown, inArray: boolean): void {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return this.refused(null, 'a request is a JSON object', [], inArray);
    }
    const fields = value as Fields;
    const clientId = clientIdOf(fields.id);
    if (clientId === undefined) {
      return this.refused(null, CLIENT_ID_ALLOWED, [{ pointer: '/id', detail: CLIENT_ID_ALLOWED }], inArray);
    }
    if (fields.op === 'cancel') return this.coordinated.get(clientId)?.handle?.cancel();
    if (this.clientIds.has(clientId)) {
      const detail = 'this id belongs to a request that is not answered yet';
      return this.refused(null, detail, [{ pointer: '/id', detail }], inArray);
    }
    if (fields.op === 'ping') return this.ping(clientId, fields, inArray);
    const kind = typeof fields.op === 'string' ? SOCKET_OPS.get(fields.op) : undefined;
    if (kind === undefined) {
      const detail = `one of ${[...SOCKET_OPS.keys(), 'ping', 'cancel'].join(', ')}`;
      return this.refused(clientId, 'no such op', [{ pointer: '/op', detail }], inArray);
    }
    builder.clear();
    builder.begin(kind, '', this.identity.caller);
    builder.fields(fields, Place.socket, SKIPPED);
    builder.end(this.context.keyedTokens);
    if (builder.problems.length > 0)
      return this.refused(clientId, 'the request is malformed', builder.problems, inArray);
    if (!this.identity.permits(builder.op)) return this.forbidden(clientId, inArray);
    if (kind === Kind.cancel) return this.unwatch(clientId, inArray);
    // Nobody else knows the token, so a wait that is granted too late is given back.
    if (kind === Kind.acquire && !('lockToken' in fields)) builder.op.flags |= OpFlag.madeToken;
    this.submit(clientId, inArray);
  }

  /** What was built. */
  private submit(clientId: ClientId, inArray: boolean): void {
    const { connections, routing, coordinators } = this.context;
    const { op } = builder;
    const request = builder.request();
    if (this.context.isDraining()) return this.fault(clientId, 'draining', inArray, request);
    op.receivedAt = this.receivedAt;
    if (op.kind === Kind.acquire || op.kind === Kind.renew) {
      op.flags |= OpFlag.events;
      op.origin = this.number;
    }
    const taker = takerOf(op, coordinators);
    if (taker !== undefined) return this.coordinate(clientId, op, request, inArray, taker);
    if (this.requests.size >= LIMITS.socketRequestsMax || connections.full(1)) {
      return this.fault(clientId, 'overloaded', inArray, request);
    }
    op.id = this.freeId();
    op.connection = this.number;
    this.requests.set(op.id, { clientId, request, receivedAt: this.receivedAt, inArray });
    this.clientIds.add(clientId);
    connections.open++;
    routing.submit(op);
  }

  private coordinate(clientId: ClientId, op: Op, request: JsonRequest, inArray: boolean, taker: Taker): void {
    const isWatch = op.kind === Kind.watch;
    const Request = isWatch ? WatchRequest : CoordinatedRequest;
    const one = new Request(this, clientId, request, inArray);
    const isFull = this.coordinated.size + this.watches.size >= LIMITS.socketStandingMax;
    if (!isFull) one.handle = taker.submit(op, one);
    if (one.handle === undefined) return this.fault(clientId, 'overloaded', inArray, request);
    this.coordinated.set(clientId, one);
    this.clientIds.add(clientId);
    if (!isWatch) return;
    // One watch of a name is enough: the new one begins with the state, as it should.
    this.watches.get(request.quotedName)?.handle?.cancel();
    this.watches.set(request.quotedName, one as WatchRequest);
  }

  private unwatch(clientId: ClientId, inArray: boolean): void {
    this.watches.get(builder.quotedName)?.handle?.cancel();
    this.answer(clientId, 200, '', inArray);
  }

  private ping(clientId: ClientId, fields: Fields, inArray: boolean): void {
    for (const field of Object.keys(fields)) {
      if (SKIPPED.includes(field)) continue;
      const problem = { pointer: `/${field.slice(0, 64)}`, detail: 'unknown field' };
      return this.refused(clientId, 'the request is malformed', [problem], inArray);
    }
    this.answer(clientId, 200, '', inArray);
  }

  private freeId(): number {
    do this.nextId = (this.nextId + 1) >>> 0;
    while (this.requests.has(this.nextId));
    return this.nextId;
  }

  private finish(id: number): OpenRequest | undefined {
    const open = this.requests.get(id);
    if (open === undefined) return undefined;
    this.requests.delete(id);
    this.clientIds.delete(open.clientId);
    this.context.connections.open--;
    return open;
  }

  // ---- what requests of more than one op say

  settled({ clientId }: CoordinatedRequest): void {
    this.coordinated.delete(clientId);
    this.clientIds.delete(clientId);
  }

  unwatched(watch: WatchRequest): void {
    const { quotedName } = watch.request;
    if (this.watches.get(quotedName) === watch) this.watches.delete(quotedName);
  }

  event(text: string): void {
    this.outbox.add(text, false);
    this.flushLater();
  }

  /** Rendered now, sent with the next flush. */
  answer(clientId: ClientId | null, status: number, members: string, inArray: boolean): void {
    const separator = members === '' ? '' : ',';
    this.outbox.add(`{"id":${quoted(clientId)},"status":${status}${separator}${members}}`, inArray);
    this.flushLater();
  }

  fault(clientId: ClientId | null, code: ErrorCode, inArray: boolean, request: JsonRequest): void {
    const { status, retryable } = CODES[code];
    const retryAfterMs = retryable ? LIMITS.retryAfterMs : 0;
    const members =
      code === 'outcome_unknown'
        ? renderUnknown(request)
        : renderFault({ code, detail: detailOf(code), problems: [], retryAfterMs });
    this.answer(clientId, status, members, inArray);
  }

  private flushLater(): void {
    if (this.flushing) return;
    this.flushing = true;
    this.context.connections.flushLater(this);
  }

  private forbidden(clientId: ClientId, inArray: boolean): void {
    this.refusedWith('forbidden', clientId, NOT_ALLOWED, [], inArray);
  }

  private refused(
    clientId: ClientId | null,
    detail: string,
    problems: readonly Problem[],
    inArray: boolean,
  ): void {
    this.refusedWith('bad_request', clientId, detail, problems, inArray);
  }

  private refusedWith(
    code: ErrorCode,
    clientId: ClientId | null,
    detail: string,
    problems: readonly Problem[],
    inArray: boolean,
  ): void {
    const members = renderFault({ code, detail, problems, retryAfterMs: 0 });
    this.answer(clientId, CODES[code].status, members, inArray);
  }

  private broken(code: ErrorCode, detail: string): void {
    this.refusedWith(code, null, detail, [], false);
  }
}

function clientIdOf(id: unknown): ClientId | undefined {
  if (typeof id === 'number') return Number.isSafeInteger(id) && id >= 0 ? id : undefined;
  return typeof id === 'string' && id.length > 0 && id.length <= CLIENT_ID_MAX ? id : undefined;
}
