/**
 * One socket of holdfast.v1.bin. The hot path of the service: requests are
 * read where they lie in the frame and answers are sent as the lane wrote
 * them; no object is made per op.
 *
 *   open ─► closed      by the client, by a broken frame (1007), a text frame
 *                       (1003), a frame over the limit (1009), a slow reader,
 *                       unanswered requests (1011), shutdown (1012)
 */
import type { Routing } from '../batch/routing.ts';
import type { Clock } from '../clock.ts';
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Op, PING } from '../op.ts';
import { Answer, AnswerBytes, Section, writeAnswer } from '../protocol/answer.ts';
import { ANYBODY } from '../protocol/caller.ts';
import { countRequests, parseRequest, readRequestId } from '../protocol/request.ts';
import type { Connection, Connections } from './connections.ts';
import type { Outlet } from './sending.ts';

/** The id of an answer to a whole frame. */
export const NO_ID = 0xffff_ffff;

export interface SocketContext {
  readonly connections: Connections;
  readonly routing: Routing;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
  /** True from SIGTERM on. */
  isDraining(): boolean;
}

const op = new Op();
const answer = new Answer();
const encoder = new TextEncoder();

export class BinarySocket implements Connection {
  private readonly context: SocketContext;
  private readonly outlet: Outlet;
  private readonly number: number;
  /** Requests under way. */
  private open = 0;
  /** Counted to find requests that stay unanswered: see `sweep`. */
  private received = 0;
  private answered = 0;
  private mark = 0;
  private markedAt = 0;
  /** The front's own answers until they are flushed. */
  private readonly own = new AnswerBytes(new ArrayBuffer(64));
  private flushing = false;

  constructor(context: SocketContext, outlet: Outlet) {
    this.context = context;
    this.outlet = outlet;
    this.number = context.connections.add(this);
  }

  /** A frame; its memory is the socket's for the duration of the call. */
  message(message: ArrayBuffer, isBinary: boolean): void {
    if (!isBinary) return this.breakOff('bad_request', 'a text frame on a binary socket', 1003);
    if (message.byteLength > LIMITS.frameBytesMax) {
      return this.breakOff('too_large', `a frame has at most ${LIMITS.frameBytesMax} bytes`, 1009);
    }
    const bytes = new Uint8Array(message);
    const view = new DataView(message);
    const count = countRequests(view, bytes.length);
    if (count < 0)
      return this.breakOff('bad_request', 'the sizes of its requests do not add up to the frame', 1007);
    const refusal = this.refusal(count);
    this.flushing = true;
    if (refusal === undefined) this.take(bytes, view, count);
    else
      for (let at = 0; at < bytes.length; at += view.getUint16(at, true))
        this.tell(readRequestId(view, at), refusal);
    this.flush();
  }

  answers(source: AnswerBytes, at: number, end: number): void {
    let count = 0;
    for (let next = at; next < end; next += source.view.getUint32(next, true)) count++;
    this.settle(count);
    this.outlet.send(source.bytes.subarray(at, end), true);
  }

  refuse(id: number, code: ErrorCode): void {
    this.settle(1);
    this.tell(id, code);
    if (this.flushing) return;
    this.flushing = true;
    this.context.connections.flushLater(this);
  }

  flush(): void {
    this.flushing = false;
    if (this.own.length === 0) return;
    this.outlet.send(this.own.bytes.subarray(0, this.own.length), true);
    this.own.reset();
  }

  /**
   * No list of ids is kept. Instead: as many requests as there were at the mark
   * must have been answered once their time is over; then a new mark is set.
   * The socket of a lane that stays silent is closed, which clients treat as
   * outcome_unknown.
   */
  sweep(now: number, overdue: number): void {
    if (this.answered >= this.mark) {
      this.mark = this.received;
      this.markedAt = now;
    } else if (this.markedAt < overdue) {
      this.outlet.end(1011, 'requests stayed unanswered');
    }
  }

  shutDown(): void {
    this.outlet.end(1012, 'this process is shutting down');
  }

  /** The socket is gone; what is under way goes on, unheard. */
  closed(): void {
    this.outlet.gone();
    this.context.connections.remove(this.number);
    this.context.connections.open -= this.open;
    this.open = 0;
  }

  private take(bytes: Uint8Array, view: DataView, count: number): void {
    const { connections, routing, clock } = this.context;
    this.open += count;
    this.received += count;
    connections.open += count;
    const receivedAt = clock.now();
    let done = 0;
    for (let at = 0; at < bytes.length;) {
      // Read before the request is parsed, which may write to its bytes.
      const next = at + view.getUint16(at, true);
      const wrong = parseRequest(bytes, view, at, op, ANYBODY);
      if (wrong !== '') {
        this.tell(op.id, 'bad_request', wrong);
        done++;
      } else if (op.kind === PING) {
        this.pong(op.id);
        done++;
      } else {
        op.connection = this.number;
        op.receivedAt = receivedAt;
        routing.submit(op);
      }
      at = next;
    }
    this.settle(done);
  }

  private refusal(count: number): ErrorCode | undefined {
    if (this.context.isDraining()) return 'draining';
    const full = this.open + count > LIMITS.socketRequestsMax || this.context.connections.full(count);
    return full ? 'overloaded' : undefined;
  }

  private settle(count: number): void {
    this.open -= count;
    this.answered += count;
    this.context.connections.open -= count;
  }

  private pong(id: number): void {
    answer.id = id;
    answer.status = 200;
    answer.code = 0;
    answer.sections = 0;
    writeAnswer(this.own, answer);
  }

  /** Without `detail` the code says it all. */
  private tell(id: number, code: ErrorCode, detail = ''): void {
    const facts = CODES[code];
    answer.id = id;
    answer.status = facts.status;
    answer.code = facts.wire;
    answer.sections = 0;
    if (facts.retryable) {
      answer.sections = Section.queue;
      answer.queueLength = 0;
      answer.retryAfterMs = LIMITS.retryAfterMs;
    }
    if (detail !== '') {
      answer.sections |= Section.detail;
      answer.detailBytes = encoder.encode(detail);
      answer.detailAt = 0;
      answer.detailLength = answer.detailBytes.length;
    }
    writeAnswer(this.own, answer);
  }

  /** Nothing of the frame is taken; the sender's codec is off, so no later frame of it could be trusted. */
  private breakOff(code: ErrorCode, detail: string, closeCode: number): void {
    this.tell(NO_ID, code, detail);
    this.flush();
    this.outlet.end(closeCode, detail);
  }
}
