/**
 * One socket of holdfast.v1.json (API.md, WebSocket).
 *
 *   open ─► closed      by the client, a slow reader, shutdown (1012)
 *
 * A request that came alone is answered by a frame of its own; requests of an
 * array are answered in arrays, in any grouping. A frame that can't be read
 * costs one answer with the id null, never the socket.
 */
import { CODES, type ErrorCode, type Problem } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Answer, type AnswerBytes, readAnswer } from '../protocol/answer.ts';
import { detailOf, renderFault, renderOutcome } from '../protocol/json-answer.ts';
import { ANYBODY } from '../protocol/caller.ts';
import { type Fields, JSON_OPS, NOT_YET, Place } from '../protocol/json-fields.ts';
import { type JsonRequest, OpBuilder } from '../protocol/json-request.ts';
import type { SocketContext } from './binary-socket.ts';
import type { Connection } from './connections.ts';
import type { Outlet } from './sending.ts';

type ClientId = number | string;

interface OpenRequest {
  readonly clientId: ClientId;
  readonly request: JsonRequest;
  readonly receivedAt: number;
  readonly inArray: boolean;
}

const CLIENT_ID_MAX = 64;
const CLIENT_ID_ALLOWED = `id is an integer from 0 to 2^53 - 1 or a string of 1–${CLIENT_ID_MAX} characters`;
const SKIPPED = ['id', 'op'];
const OPS_LATER = new Set(['watch', 'unwatch', 'session.open', 'session.keepalive', 'session.end']);

const builder = new OpBuilder();
const answer = new Answer();

export class JsonSocket implements Connection {
  private readonly context: SocketContext;
  private readonly outlet: Outlet;
  private readonly number: number;
  /** By the id that the lanes know; oldest first. */
  private readonly requests = new Map<number, OpenRequest>();
  private readonly clientIds = new Set<ClientId>();
  private nextId = 0;
  /** Rendered answers until they are flushed. */
  private alone: string[] = [];
  private grouped: string[] = [];
  private flushing = false;
  /** When the frame that is being taken had been read. */
  private receivedAt = 0;

  constructor(context: SocketContext, outlet: Outlet) {
    this.context = context;
    this.outlet = outlet;
    this.number = context.connections.add(this);
  }

  message(message: ArrayBuffer, isBinary: boolean): void {
    this.flushing = true;
    this.receivedAt = this.context.clock.now();
    this.take(message, isBinary);
    this.flush();
  }

  answers(source: AnswerBytes, from: number, end: number): void {
    for (let at = from; at < end;) {
      at = readAnswer(source, at, answer);
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
    this.fault(open.clientId, code, open.inArray, open.request.lockToken);
    if (this.flushing) return;
    this.flushing = true;
    this.context.connections.flushLater(this);
  }

  flush(): void {
    this.flushing = false;
    const { alone, grouped } = this;
    if (alone.length === 0 && grouped.length === 0) return;
    this.alone = [];
    this.grouped = [];
    this.outlet.together(() => {
      for (const text of alone) this.outlet.send(text, false);
      if (grouped.length > 0) this.outlet.send(`[${grouped.join(',')}]`, false);
    });
  }

  sweep(_now: number, overdue: number): void {
    for (const [id, open] of this.requests) {
      if (open.receivedAt >= overdue) break;
      this.refuse(id, 'outcome_unknown');
    }
  }

  shutDown(): void {
    this.outlet.end(1012, 'this process is shutting down');
  }

  closed(): void {
    this.outlet.gone();
    this.context.connections.remove(this.number);
    this.context.connections.open -= this.requests.size;
    this.requests.clear();
  }

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
    if (fields.op === 'cancel') return;
    if (this.clientIds.has(clientId)) {
      const detail = 'this id belongs to a request that is not answered yet';
      return this.refused(null, detail, [{ pointer: '/id', detail }], inArray);
    }
    if (fields.op === 'ping') return this.ping(clientId, fields, inArray);
    const kind = typeof fields.op === 'string' ? JSON_OPS.get(fields.op) : undefined;
    if (kind === undefined) {
      const later = OPS_LATER.has(fields.op as string);
      const detail = later
        ? `${fields.op as string} is ${NOT_YET}`
        : `one of ${[...JSON_OPS.keys(), 'ping', 'cancel'].join(', ')}`;
      return this.refused(clientId, later ? detail : 'no such op', [{ pointer: '/op', detail }], inArray);
    }
    this.submit(clientId, kind, fields, inArray);
  }

  private submit(clientId: ClientId, kind: number, fields: Fields, inArray: boolean): void {
    const { connections, routing } = this.context;
    builder.clear();
    builder.begin(kind, '', ANYBODY);
    builder.fields(fields, Place.socket, SKIPPED);
    builder.end();
    if (builder.problems.length > 0)
      return this.refused(clientId, 'the request is malformed', builder.problems, inArray);
    const request = builder.request();
    if (this.context.isDraining()) return this.fault(clientId, 'draining', inArray, '');
    if (this.requests.size >= LIMITS.socketRequestsMax || connections.full(1)) {
      return this.fault(clientId, 'overloaded', inArray, '');
    }
    const { op } = builder;
    op.id = this.freeId();
    op.connection = this.number;
    op.receivedAt = this.receivedAt;
    this.requests.set(op.id, { clientId, request, receivedAt: this.receivedAt, inArray });
    this.clientIds.add(clientId);
    connections.open++;
    routing.submit(op);
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

  /** Rendered now, sent with the next flush. */
  private answer(clientId: ClientId | null, status: number, members: string, inArray: boolean): void {
    const id = typeof clientId === 'string' ? JSON.stringify(clientId) : clientId;
    const text = `{"id":${id},"status":${status}${members === '' ? '' : ','}${members}}`;
    if (inArray) this.grouped.push(text);
    else this.alone.push(text);
  }

  private fault(clientId: ClientId, code: ErrorCode, inArray: boolean, lockToken: string): void {
    const retryAfterMs = code === 'outcome_unknown' ? 0 : LIMITS.retryAfterMs;
    let members = renderFault({ code, detail: detailOf(code), problems: [], retryAfterMs });
    if (code === 'outcome_unknown' && lockToken !== '') members += `,"lockToken":"${lockToken}"`;
    this.answer(clientId, CODES[code].status, members, inArray);
  }

  private refused(
    clientId: ClientId | null,
    detail: string,
    problems: readonly Problem[],
    inArray: boolean,
  ): void {
    this.answer(
      clientId,
      400,
      renderFault({ code: 'bad_request', detail, problems, retryAfterMs: 0 }),
      inArray,
    );
  }

  private broken(code: ErrorCode, detail: string): void {
    this.answer(
      null,
      CODES[code].status,
      renderFault({ code, detail, problems: [], retryAfterMs: 0 }),
      false,
    );
  }
}

function clientIdOf(id: unknown): ClientId | undefined {
  if (typeof id === 'number') return Number.isSafeInteger(id) && id >= 0 ? id : undefined;
  return typeof id === 'string' && id.length > 0 && id.length <= CLIENT_ID_MAX ? id : undefined;
}
