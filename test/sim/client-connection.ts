/**
 * A client's connection as a front has it: makes ops of its requests and gives
 * the answers back. It sees to rule 11: each op is answered exactly once and in
 * time, wherever it went.
 */
import type { ErrorCode } from '../../src/errors.ts';
import type { Connection, Connections } from '../../src/front/connections.ts';
import { LIMITS } from '../../src/limits.ts';
import { Op } from '../../src/op.ts';
import { Answer, type AnswerBytes, readAnswer, Section } from '../../src/protocol/answer.ts';
import { fillOp, refusal, replyOf, type Reply, type Request } from './request.ts';

/** What a connection needs of its front. */
export interface ConnectionHost {
  readonly connections: Connections;
  readonly requestTimeoutMs: number;
  readonly draining: boolean;
  /** Clocks of all processes only drift. */
  readonly honestClocks: boolean;
  now(): number;
  submit(op: Op): void;
  /** The earliest moment from which a late answer can be held against anybody: after pauses. */
  undisturbedSince(): number;
  /** When the op went to another process last; undefined: it never did. Forgets it. */
  forwardedAt(connection: number, id: number): number | undefined;
  complain(text: string): void;
}

interface Pending {
  readonly receivedAt: number;
  readonly text: string;
  readonly reply: (reply: Reply) => void;
}

/**
 * How much later than the request time-out an answer may be, in ms: a lane gives
 * up a round trip only once it has stalled, a link waits for the last word of
 * the owner, and both look only now and then.
 */
const SLACK_MS = Math.max(LIMITS.stallMs, 500) + 300;
/** What an answer may say of the wait, too much and too little: rounding, clock rates, one turn of the loop. */
const WAITED_MORE_MS = 5;
const WAITED_LESS_MS = 25;

const op = new Op();
const answer = new Answer();

export class ClientConnection implements Connection {
  readonly #host: ConnectionHost;
  readonly #number: number;
  readonly #pending = new Map<number, Pending>();
  #refused: { id: number; code: ErrorCode }[] = [];
  #lastId = 0;

  constructor(host: ConnectionHost) {
    this.#host = host;
    this.#number = host.connections.add(this);
  }

  /** Ops that nobody has answered yet. */
  get unanswered(): readonly string[] {
    return [...this.#pending.values()].map(({ text }) => text);
  }

  /** The requests of one frame; each reply comes on its own. */
  receive(requests: readonly Request[], reply: (index: number, reply: Reply) => void): void {
    const host = this.#host;
    const receivedAt = host.now();
    for (const [index, request] of requests.entries()) {
      if (host.draining) {
        reply(index, refusal('draining'));
        continue;
      }
      fillOp(op, request);
      op.id = ++this.#lastId;
      op.connection = this.#number;
      op.receivedAt = receivedAt;
      const text = `${request.op} ${request.name} ${request.token}`;
      this.#pending.set(op.id, { receivedAt, text, reply: (told) => reply(index, told) });
      host.connections.open++;
      host.submit(op);
    }
  }

  answers(source: AnswerBytes, at: number, end: number): void {
    for (let next = at; next < end;) {
      next = readAnswer(source, next, answer);
      const pending = this.#end(answer.id, `status ${answer.status}`);
      if (pending === undefined) continue;
      this.#checkWait(pending, this.#host.forwardedAt(this.#number, answer.id));
      pending.reply(replyOf(answer));
    }
  }

  refuse(id: number, code: ErrorCode): void {
    this.#refused.push({ id, code });
    if (this.#refused.length === 1) this.#host.connections.flushLater(this);
  }

  flush(): void {
    const refused = this.#refused;
    this.#refused = [];
    for (const { id, code } of refused) {
      this.#host.forwardedAt(this.#number, id);
      this.#end(id, code)?.reply(refusal(code));
    }
  }

  sweep(): void {
    for (const [id, { text }] of this.#pending) {
      const late = this.#lateBy(id);
      if (late <= 0) continue;
      this.#host.complain(`no answer in time, ${late.toFixed(0)} ms ago: ${text}`);
      this.#pending.delete(id);
      this.#host.connections.open--;
    }
  }

  shutDown(): void {}

  #lateBy(id: number): number {
    const { receivedAt } = this.#pending.get(id)!;
    const { requestTimeoutMs } = this.#host;
    const from = Math.max(receivedAt, this.#host.undisturbedSince());
    return this.#host.now() - from - requestTimeoutMs - SLACK_MS;
  }

  #end(id: number, what: string): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) {
      this.#host.complain(`an answer (${what}) to op ${id} of connection ${this.#number}, which is not open`);
      return undefined;
    }
    const late = this.#lateBy(id);
    if (late > 0) this.#host.complain(`answered ${late.toFixed(0)} ms too late: ${pending.text}`);
    this.#pending.delete(id);
    this.#host.connections.open--;
    return pending;
  }

  /** The client adds what it waited to what is left of its claim: too much is dangerous, too little a waste. */
  #checkWait({ receivedAt, text }: Pending, forwardedAt: number | undefined): void {
    const host = this.#host;
    if ((answer.sections & Section.claim) === 0 || !host.honestClocks) return;
    const passed = host.now() - receivedAt;
    const { waitedMs } = answer;
    const told = `answered that it waited ${waitedMs} ms`;
    if (waitedMs > passed + WAITED_MORE_MS)
      host.complain(`${told}, received ${passed.toFixed(0)} ms ago: ${text}`);
    if (forwardedAt === undefined || receivedAt < host.undisturbedSince()) return;
    const detour = forwardedAt - receivedAt;
    if (waitedMs < detour - WAITED_LESS_MS)
      host.complain(`${told}, forwarded after ${detour.toFixed(0)} ms: ${text}`);
  }
}
