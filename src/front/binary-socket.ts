/**
 * One socket of holdfast.v1.bin. The hot path of the service: requests are
 * read where they lie in the frame and answers are sent as the lane wrote
 * them; no object is made per op.
 *
 *   open ─► closed      by the client, by a broken frame (1007), a text frame
 *                       (1003), a frame over the limit (1009), a slow reader,
 *                       the end of its API key (1008), unanswered requests
 *                       (1011), shutdown (1012)
 */
import type { Routing } from '../batch/routing.ts';
import type { Clock } from '../clock.ts';
import type { ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, Op, OpFlag, PING } from '../op.ts';
import { Answer, ANSWER_STATUS_AT, AnswerBytes, FINAL_STATUS_MIN, writeAnswer } from '../protocol/answer.ts';
import type { KeyedTokens } from '../protocol/keyed-token.ts';
import { countRequests, parseRequest, readRequestId } from '../protocol/request.ts';
import { writeRefusal } from '../protocol/refusal.ts';
import { type Identity, NOT_ALLOWED, NOT_VALID_ANY_MORE } from './auth.ts';
import { BinaryRequest, type BinaryRequestHost } from './binary-request.ts';
import type { Connection, Connections } from './connections.ts';
import { type Coordinators, type Taker, takerOf } from './coordination.ts';
import type { Outlet } from './sending.ts';

/** The id of an answer to a whole frame. */
export const NO_ID = 0xffff_ffff;

export interface SocketContext {
  readonly connections: Connections;
  readonly routing: Routing;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
  readonly coordinators: Coordinators;
  readonly keyedTokens: KeyedTokens;
  /** True from SIGTERM on. */
  isDraining(): boolean;
}

const NO_TOKEN: Uint8Array = new Uint8Array(0);
const op = new Op();
const answer = new Answer();
/** Answers from here on are not copied to be sent together with others. */
const LARGE_BYTES = 64 * 1024;

export class BinarySocket implements Connection, BinaryRequestHost {
  private readonly context: SocketContext;
  private readonly outlet: Outlet;
  private readonly identity: Identity;
  private readonly number: number;
  /** Requests of one op that are under way. */
  private open = 0;
  /** Those of more than one op, by the client's id: they are not counted with the others. */
  private readonly coordinated = new Map<number, BinaryRequest>();
  /** Counted to find requests that stay unanswered: see `sweep`. */
  private received = 0;
  private answered = 0;
  private mark = 0;
  private markedAt = 0;
  /** The front's own answers until they are flushed. */
  private readonly own = new AnswerBytes(new ArrayBuffer(64));
  private flushing = false;

  constructor(context: SocketContext, outlet: Outlet, identity: Identity) {
    this.context = context;
    this.outlet = outlet;
    this.identity = identity;
    this.number = context.connections.add(this);
  }

  /** A frame; its memory is the socket's for the duration of the call. */
  message(message: ArrayBuffer, isBinary: boolean): void {
    if (this.identity.revoked) return this.outlet.end(1008, NOT_VALID_ANY_MORE);
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
    else this.refuseAll(bytes, view, refusal);
    this.flush();
  }

  answers(source: AnswerBytes, at: number, end: number): void {
    const { view } = source;
    let count = 0;
    for (let next = at; next < end; next += view.getUint32(next, true)) {
      // Word of a claim answers no request.
      if (view.getUint16(next + ANSWER_STATUS_AT, true) >= FINAL_STATUS_MIN) count++;
    }
    this.settle(count);
    this.outlet.send(source.bytes.subarray(at, end), true);
  }

  refuse(id: number, code: ErrorCode): void {
    this.settle(1);
    writeRefusal(this.own, id, code);
    this.flushLater();
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
    this.flush();
    this.outlet.end(1012, 'this process is shutting down');
  }

  /** The socket is gone: it waits and watches no longer. What else is under way goes on, unheard. */
  closed(): void {
    this.outlet.gone();
    this.context.connections.remove(this.number);
    this.context.connections.open -= this.open;
    this.open = 0;
    for (const { handle } of this.coordinated.values()) handle?.leave();
    this.coordinated.clear();
  }

  // ---- what requests of more than one op say

  /** An answer to one of them, its id already the client's. */
  pass(source: AnswerBytes, at: number, end: number): void {
    const { own } = this;
    if (end - at >= LARGE_BYTES) {
      const { flushing } = this;
      this.flush();
      this.flushing = flushing;
      this.outlet.send(source.bytes.subarray(at, end), true);
      return;
    }
    own.ensure(end - at);
    own.bytes.set(source.bytes.subarray(at, end), own.length);
    own.length += end - at;
    this.flushLater();
  }

  over(id: number): void {
    this.coordinated.delete(id);
  }

  /** `token`: the one that the server made, where the client has to know it. */
  fault(id: number, code: ErrorCode, token: Uint8Array): void {
    writeRefusal(this.own, id, code, token);
    this.flushLater();
  }

  private take(bytes: Uint8Array, view: DataView, count: number): void {
    const { connections, routing, clock, coordinators, keyedTokens } = this.context;
    this.open += count;
    this.received += count;
    connections.open += count;
    const receivedAt = clock.now();
    let done = 0;
    for (let at = 0; at < bytes.length;) {
      // Read before the request is parsed, which may write to its bytes.
      const next = at + view.getUint16(at, true);
      const wrong = parseRequest(bytes, view, at, op, this.identity.caller, keyedTokens);
      if (wrong !== '') {
        writeRefusal(this.own, op.id, 'bad_request', NO_TOKEN, wrong);
        done++;
      } else if (op.kind === PING) {
        this.pong(op.id);
        done++;
      } else if (!this.identity.permits(op)) {
        writeRefusal(this.own, op.id, 'forbidden', NO_TOKEN, NOT_ALLOWED);
        done++;
      } else if (op.kind === Kind.cancel) {
        this.coordinated.get(op.id)?.handle?.cancel();
        done++;
      } else {
        op.connection = this.number;
        op.receivedAt = receivedAt;
        if (op.flags & OpFlag.events) op.origin = this.number;
        const taker = takerOf(op, coordinators);
        if (taker === undefined) routing.submit(op);
        else {
          this.coordinate(taker);
          done++;
        }
      }
      at = next;
    }
    this.settle(done);
  }

  /** `op` goes to who takes it. From here on it is not one of the requests that are counted. */
  private coordinate(taker: Taker): void {
    const { id } = op;
    // With its own id it would be taken for an answer to the first.
    if (this.coordinated.has(id)) {
      writeRefusal(this.own, NO_ID, 'bad_request', NO_TOKEN, `request ${id} is not answered yet`);
      return;
    }
    if (this.coordinated.size >= LIMITS.socketStandingMax) return writeRefusal(this.own, id, 'overloaded');
    const request = new BinaryRequest(this, op);
    request.handle = taker.submit(op, request);
    if (request.handle === undefined) writeRefusal(this.own, id, 'overloaded');
    else this.coordinated.set(id, request);
  }

  /** Nothing of the frame is taken, but that waits are withdrawn: a cancellation has no answer of its own. */
  private refuseAll(bytes: Uint8Array, view: DataView, code: ErrorCode): void {
    for (let at = 0; at < bytes.length; at += view.getUint16(at, true)) {
      const id = readRequestId(view, at);
      if (view.getUint8(at + 2) === Kind.cancel) this.coordinated.get(id)?.handle?.cancel();
      else writeRefusal(this.own, id, code);
    }
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
  private flushLater(): void {
    if (this.flushing) return;
    this.flushing = true;
    this.context.connections.flushLater(this);
  }

  /** Nothing of the frame is taken; the sender's codec is off, so no later frame of it could be trusted. */
  private breakOff(code: ErrorCode, detail: string, closeCode: number): void {
    writeRefusal(this.own, NO_ID, code, NO_TOKEN, detail);
    this.flush();
    this.outlet.end(closeCode, detail);
  }
}
