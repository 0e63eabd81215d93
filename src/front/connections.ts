/**
 * Everything that waits for answers: sockets of both protocols and HTTP
 * requests, each under a number that its ops carry to the lanes and back.
 *
 * A number is used for one connection only, until the 32-bit counter comes
 * round; answers for a number that is gone are dropped.
 */
import type { ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Op } from '../op.ts';
import { AnswerBytes } from '../protocol/answer.ts';
import type { Refuser } from '../batch/routing.ts';

const GROUP_HEAD_BYTES = 8;

export interface Connection {
  /** One group: whole answers back to back in source[at, end). */
  answers(source: AnswerBytes, at: number, end: number): void;
  /** Answers an op that no lane saw. Collected until `flush`. */
  refuse(id: number, code: ErrorCode): void;
  flush(): void;
  /** Only of connections that other processes send ops over: Refuser.notOwner. */
  notOwner?(op: Op): void;
  /** Only of a connection that stands for clients: Refuser.isOver. */
  isOver?(id: number): boolean;
  /** Looks for requests that a lane left unanswered. `overdue`: received before that, they are late. */
  sweep(now: number, overdue: number): void;
  /** The process ends. */
  shutDown(): void;
}

export class Connections implements Refuser {
  /** Requests under way. */
  open = 0;
  private next = 1;
  private readonly byNumber = new Map<number, Connection>();
  private unflushed: Connection[] = [];
  private readonly defer: (run: () => void) => void;
  private readonly flushAll = (): void => {
    const connections = this.unflushed;
    this.unflushed = [];
    for (const connection of connections) connection.flush();
  };

  /** @param defer runs it at the end of the event-loop turn */
  constructor(defer: (run: () => void) => void = setImmediate) {
    this.defer = defer;
  }

  get size(): number {
    return this.byNumber.size;
  }

  add(connection: Connection): number {
    do {
      this.next = (this.next + 1) >>> 0;
    } while (this.byNumber.has(this.next));
    this.byNumber.set(this.next, connection);
    return this.next;
  }

  remove(number: number): void {
    this.byNumber.delete(number);
  }

  /** True when `more` requests would be too many for the process. */
  full(more: number): boolean {
    return this.open + more > LIMITS.processRequestsMax;
  }

  /** Answers of a lane, grouped by connection (lane/messages.ts, LaneAnswers). */
  answers(buffer: ArrayBuffer, length: number): void {
    const source = new AnswerBytes(buffer, length);
    for (let at = 0; at < length;) {
      const number = source.view.getUint32(at, true);
      const from = at + GROUP_HEAD_BYTES;
      at = from + source.view.getUint32(at + 4, true);
      this.byNumber.get(number)?.answers(source, from, at);
    }
  }

  /** Answers of another process: whole, back to back in source[at, end). */
  deliver(connection: number, source: AnswerBytes, at: number, end: number): void {
    this.byNumber.get(connection)?.answers(source, at, end);
  }

  refuse(connection: number, id: number, code: ErrorCode): void {
    this.byNumber.get(connection)?.refuse(id, code);
  }

  notOwner(op: Op): void {
    this.byNumber.get(op.connection)?.notOwner?.(op);
  }

  isOver(connection: number, id: number): boolean {
    return this.byNumber.get(connection)?.isOver?.(id) ?? false;
  }

  /** `flush` at the end of the turn: many refusals make one message. */
  flushLater(connection: Connection): void {
    if (this.unflushed.length === 0) this.defer(this.flushAll);
    this.unflushed.push(connection);
  }

  sweep(now: number, overdue: number): void {
    for (const connection of this.byNumber.values()) connection.sweep(now, overdue);
  }

  shutDown(): void {
    for (const connection of [...this.byNumber.values()]) connection.shutDown();
  }
}
