/**
 * A client's connection as a front has it: makes ops of its requests and gives
 * the answers back. It sees to rule 11: each op is answered exactly once and in
 * time, wherever it went, and a wait hears of its place only before that.
 */
import type { ErrorCode } from '../../src/errors.ts';
import type { Connection, Connections } from '../../src/front/connections.ts';
import {
  type Coordinators,
  type Handle,
  type Taker,
  takerOf,
  type Target,
} from '../../src/front/coordination.ts';
import { LIMITS } from '../../src/limits.ts';
import { Op } from '../../src/op.ts';
import { type AnswerBytes, FINAL_STATUS_MIN } from '../../src/protocol/answer.ts';
import { fillOp, readReply, refusal, type Reply, type Request } from './request.ts';

/** What a connection needs of its front. */
export interface ConnectionHost {
  readonly connections: Connections;
  readonly requestTimeoutMs: number;
  readonly draining: boolean;
  /** Clocks of all processes only drift. */
  readonly honestClocks: boolean;
  /** Who takes what is more than one op. */
  readonly coordinators: Coordinators;
  now(): number;
  submit(op: Op): void;
  /** The earliest moment from which a late answer can be held against anybody: after pauses. */
  undisturbedSince(): number;
  /** When the op went to another process last; undefined: it never did. Forgets it. */
  forwardedAt(connection: number, id: number): number | undefined;
  complain(text: string): void;
}

/** Requests that came together, and the way back to who sent them. */
export interface Frame {
  readonly requests: readonly Request[];
  /** The reply to request `index`; before it, of a wait, any number with status 100. */
  reply(index: number, reply: Reply): void;
}

interface Pending {
  readonly receivedAt: number;
  /** What it may take beside the request time-out. */
  readonly longerMs: number;
  readonly text: string;
  readonly reply: (reply: Reply) => void;
}

/**
 * How much later than the request time-out an answer may be, in ms: a lane gives
 * up a round trip only once it has stalled, a link waits for the last word of
 * the owner, and both look only now and then.
 */
const SLACK_MS = Math.max(LIMITS.stallMs, 500) + 300;
/** The same of what a front puts together: what it sweeps with, and how often it does. */
const WAIT_SLACK_MS = 1_000 + 500;
/** What an answer may say of the wait, too much and too little: rounding, clock rates, one turn of the loop. */
const WAITED_MORE_MS = 5;
const WAITED_LESS_MS = 25;

const op = new Op();

export class ClientConnection implements Connection {
  readonly #host: ConnectionHost;
  readonly #number: number;
  readonly #pending = new Map<number, Pending>();
  /** Waits, and what sessions are asked for, by frame and place in it, and by themselves. */
  readonly #handles = new Map<Frame, Map<number, Handle>>();
  readonly #waits = new Map<Handle, Pending>();
  #refused: { id: number; code: ErrorCode }[] = [];
  #lastId = 0;
  #closed = false;

  constructor(host: ConnectionHost) {
    this.#host = host;
    this.#number = host.connections.add(this);
  }

  /** Ops that nobody has answered yet. */
  get unanswered(): readonly string[] {
    return [...this.#pending.values(), ...this.#waits.values()].map(({ text }) => text);
  }

  /** The requests of one frame; each reply comes on its own. */
  receive(frame: Frame): void {
    const host = this.#host;
    if (this.#closed) return;
    const receivedAt = host.now();
    for (const [index, request] of frame.requests.entries()) {
      const reply = (told: Reply) => frame.reply(index, told);
      if (host.draining) {
        reply(refusal('draining'));
        continue;
      }
      fillOp(op, request);
      op.receivedAt = receivedAt;
      const text = `${request.op} ${request.name || request.session} ${request.token}`;
      const taker = takerOf(op, host.coordinators);
      if (taker === undefined) this.#submit({ receivedAt, longerMs: 0, text, reply });
      else
        this.#coordinate(frame, index, { receivedAt, longerMs: this.#longerMs(request), text, reply }, taker);
    }
  }

  /** The client takes back a wait. */
  cancel(frame: Frame, index: number): void {
    this.#handles.get(frame)?.get(index)?.cancel();
  }

  /** The client is gone: it waits no longer, and what else is under way goes on, unheard. */
  close(): void {
    if (this.#closed) return;
    const { connections } = this.#host;
    this.#closed = true;
    connections.remove(this.#number);
    connections.open -= this.#pending.size;
    this.#pending.clear();
    for (const handle of this.#waits.keys()) handle.leave();
    this.#waits.clear();
    this.#handles.clear();
  }

  answers(source: AnswerBytes, at: number, end: number): void {
    const { view } = source;
    for (let next = at; next < end; next += view.getUint32(next, true)) {
      const id = view.getUint32(next + 4, true);
      const told = readReply(source, next);
      const pending = this.#end(id, `status ${told.status}`);
      if (pending === undefined) continue;
      this.#checkWaited(pending, told, this.#host.forwardedAt(this.#number, id));
      pending.reply(told);
    }
  }

  refuse(id: number, code: ErrorCode): void {
    this.#refused.push({ id, code });
    if (this.#refused.length === 1) this.#host.connections.flushLater(this);
  }

  flush(): void {
    const refused = this.#refused;
    this.#refused = [];
    if (this.#closed) return;
    for (const { id, code } of refused) {
      this.#host.forwardedAt(this.#number, id);
      this.#end(id, code)?.reply(refusal(code));
    }
  }

  sweep(): void {
    for (const [id, pending] of this.#pending) {
      const late = this.#lateBy(pending);
      if (late <= 0) continue;
      this.#host.complain(`no answer in time, ${late.toFixed(0)} ms ago: ${pending.text}`);
      this.#pending.delete(id);
      this.#host.connections.open--;
    }
    for (const [handle, pending] of this.#waits) {
      const late = this.#lateBy(pending);
      if (late <= 0) continue;
      this.#host.complain(`no answer in time, ${late.toFixed(0)} ms ago: wait ${pending.text}`);
      this.#waits.delete(handle);
    }
  }

  shutDown(): void {}

  #submit(pending: Pending): void {
    op.id = ++this.#lastId;
    op.connection = this.#number;
    this.#pending.set(op.id, pending);
    this.#host.connections.open++;
    this.#host.submit(op);
  }

  /** The steps of a session that come after a wait have a time-out of their own. */
  #longerMs({ waitMs, session }: Request): number {
    const steps = session === '' || waitMs === 0 ? 0 : this.#host.requestTimeoutMs;
    return waitMs + steps + WAIT_SLACK_MS;
  }

  #coordinate(frame: Frame, index: number, pending: Pending, taker: Taker): void {
    const host = this.#host;
    const wait: { handle: Handle | undefined; isOver: boolean } = { handle: undefined, isOver: false };
    const complain = (what: string) =>
      host.complain(`an answer (${what}) to a wait that is over or was not taken: ${pending.text}`);
    const end = (what: string, told: Reply) => {
      const { handle, isOver } = wait;
      if (isOver || handle === undefined) return complain(what);
      wait.isOver = true;
      if (this.#closed) return complain(`${what}, its client is gone`);
      const late = this.#lateBy(pending);
      if (late > 0) host.complain(`answered ${late.toFixed(0)} ms too late: wait ${pending.text}`);
      this.#waits.delete(handle);
      this.#handles.get(frame)?.delete(index);
      pending.reply(told);
    };
    const target: Target = {
      interim: (source, at) => {
        const told = readReply(source, at);
        if (wait.isOver || wait.handle === undefined || this.#closed) return complain('its place');
        if (told.status >= FINAL_STATUS_MIN || told.queueLength < 1) complain(JSON.stringify(told));
        pending.reply(told);
      },
      final: (source, at) => {
        const told = readReply(source, at);
        this.#checkWaited(pending, told, undefined);
        end(`status ${told.status}`, told);
      },
      refused: (code) => end(code, refusal(code)),
    };
    const handle = taker.submit(op, target);
    if (handle === undefined) return pending.reply(refusal('overloaded'));
    wait.handle = handle;
    this.#waits.set(handle, pending);
    const handles = this.#handles.get(frame) ?? new Map<number, Handle>();
    this.#handles.set(frame, handles.set(index, handle));
  }

  #lateBy({ receivedAt, longerMs }: Pending): number {
    const { requestTimeoutMs } = this.#host;
    const from = Math.max(receivedAt, this.#host.undisturbedSince());
    return this.#host.now() - from - requestTimeoutMs - SLACK_MS - longerMs;
  }

  #end(id: number, what: string): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) {
      this.#host.complain(`an answer (${what}) to op ${id} of connection ${this.#number}, which is not open`);
      return undefined;
    }
    const late = this.#lateBy(pending);
    if (late > 0) this.#host.complain(`answered ${late.toFixed(0)} ms too late: ${pending.text}`);
    this.#pending.delete(id);
    this.#host.connections.open--;
    return pending;
  }

  /** The client adds what it waited to what is left of its claim: too much is dangerous, too little a waste. */
  #checkWaited({ receivedAt, text }: Pending, told: Reply, forwardedAt: number | undefined): void {
    const host = this.#host;
    const { waitedMs, isClaim } = told;
    if (!isClaim || !host.honestClocks) return;
    const passed = host.now() - receivedAt;
    const said = `answered that it waited ${waitedMs} ms`;
    if (waitedMs > passed + WAITED_MORE_MS)
      host.complain(`${said}, received ${passed.toFixed(0)} ms ago: ${text}`);
    if (forwardedAt === undefined || receivedAt < host.undisturbedSince()) return;
    const detour = forwardedAt - receivedAt;
    if (waitedMs < detour - WAITED_LESS_MS)
      host.complain(`${said}, forwarded after ${detour.toFixed(0)} ms: ${text}`);
  }
}
