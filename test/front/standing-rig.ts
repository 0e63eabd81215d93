/** Standing requests over a routing that only keeps what it is given, with a clock that the test moves. */
import { Buffer } from 'node:buffer';
import { CODES, type ErrorCode } from '../../src/errors.ts';
import { Connections } from '../../src/front/connections.ts';
import type { Handle, Target } from '../../src/front/coordination.ts';
import { Standing } from '../../src/front/standing.ts';
import { Kind, Op } from '../../src/op.ts';
import { Answer, AnswerBytes, Event, readAnswer, Section, writeAnswer } from '../../src/protocol/answer.ts';
import { ModelClock } from '../batch/model-clock.ts';

export const TIMEOUT_MS = 1_000;
/** What the front sweeps with (src/front/front.ts). */
const WEDGED_MS = 1_000;

/** What a client was told, in order. */
export class Told implements Target {
  readonly words: string[] = [];
  handle: Handle | undefined;
  last: Answer | undefined;

  interim(source: AnswerBytes, at: number): void {
    this.read(source, at);
    this.words.push(this.last!.status === Event.queued ? `queued ${this.last!.queueLength}` : 'changed');
  }

  final(source: AnswerBytes, at: number): void {
    this.read(source, at);
    const { status, code } = this.last!;
    this.words.push(`final ${status}${code === 0 ? '' : ` ${nameOf(code)}`}`);
  }

  refused(code: ErrorCode): void {
    this.words.push(`refused ${code}`);
  }

  get finals(): string[] {
    return this.words.filter((word) => /^(final|refused)/.test(word));
  }

  private read(source: AnswerBytes, at: number): void {
    this.last = new Answer();
    readAnswer(source, at, this.last);
  }
}

export function nameOf(wire: number): string {
  return Object.entries(CODES).find(([, facts]) => facts.wire === wire)![0];
}

export interface Sent {
  readonly kind: number;
  readonly id: number;
  readonly connection: number;
  readonly attempt: number;
  readonly flags: number;
  readonly slot: number;
  readonly waitMs: number;
  readonly receivedAt: number;
  readonly key: string;
  readonly token: string;
  readonly principal: string;
  readonly fields: Pick<Op, 'mode' | 'limit' | 'origin' | 'ttlMs' | 'ownerLength'>;
}

export class StandingRig {
  readonly clock = new ModelClock();
  private turn: (() => void)[] = [];
  readonly connections = new Connections((run) => void this.turn.push(run));
  readonly sent: Sent[] = [];
  /** Refuses what is sent at once, as routing does when too much waits. */
  refusing: ErrorCode | undefined;
  readonly standing: Standing;

  constructor() {
    const take = (op: Op): void => this.take(op);
    this.standing = new Standing({
      connections: this.connections,
      routing: {
        submit: (op) => {
          op.slot = 7;
          take(op);
        },
        submitAt: (op, slot) => {
          op.slot = slot;
          take(op);
        },
      },
      clock: this.clock,
      requestTimeoutMs: TIMEOUT_MS,
    });
  }

  wait(waitMs: number, fields: Partial<Op> = {}): Told {
    return this.submit({ kind: Kind.acquire, waitMs, ...fields });
  }

  watch(): Told {
    return this.submit({ kind: Kind.watch, tokenLength: 0 });
  }

  submit(fields: Partial<Op>): Told {
    const op = Object.assign(this.newOp(), fields);
    const told = new Told();
    told.handle = this.standing.submit(op, told);
    this.endTurn();
    return told;
  }

  /** With a key, a token and a principal. */
  newOp(): Op {
    const op = new Op();
    op.bytes = Buffer.from('lock-atoken-of-22-characterspal');
    op.keyLength = 6;
    op.tokenAt = 6;
    op.tokenLength = 22;
    op.principalAt = 28;
    op.principalLength = 3;
    op.receivedAt = this.clock.now();
    return op;
  }

  /** The last op that was sent, of this kind. */
  lastOf(kind: number): Sent {
    return this.sent.findLast((op) => op.kind === kind)!;
  }

  get last(): Sent {
    return this.sent[this.sent.length - 1];
  }

  /** The lane, or a link, says this to an op. */
  says(to: Sent, status: number, code: ErrorCode | undefined = undefined, more: Partial<Answer> = {}): void {
    const out = new AnswerBytes();
    const answer = Object.assign(new Answer(), { id: to.id, status, ...more });
    if (code !== undefined) Object.assign(answer, { status: CODES[code].status, code: CODES[code].wire });
    writeAnswer(out, answer);
    this.connections.deliver(to.connection, out, 0, out.length);
    this.endTurn();
  }

  queued(to: Sent, position = 1): void {
    this.says(to, Event.queued, undefined, { sections: Section.queue, queueLength: position });
  }

  changed(to: Sent, revision: number): void {
    this.says(to, Event.changed, undefined, { sections: Section.state, revision });
  }

  grants(to: Sent, status = 201, waitedMs = 0): void {
    this.says(to, status, undefined, {
      sections: Section.claim,
      waitedMs,
      expiresInMs: 5_000,
      fencingToken: 9,
    });
  }

  fails(to: Sent, code: ErrorCode): void {
    this.says(to, 0, code);
  }

  /** Time passes; the front sweeps now and then. */
  pass(ms: number, step = 20): void {
    for (let left = ms; left > 0; left -= step) {
      this.clock.advance(Math.min(step, left));
      const now = this.clock.now();
      if (now % 500 < step) this.connections.sweep(now, now - TIMEOUT_MS - WEDGED_MS);
      this.endTurn();
    }
  }

  endTurn(): void {
    for (let runs = this.turn; runs.length > 0; runs = this.turn) {
      this.turn = [];
      for (const run of runs) run();
    }
  }

  private take(op: Op): void {
    const text = (at: number, length: number): string =>
      Buffer.from(op.bytes.slice(at, at + length)).toString();
    const { kind, id, connection, attempt, flags, slot, waitMs, receivedAt } = op;
    const { mode, limit, origin, ttlMs, ownerLength } = op;
    this.sent.push({
      ...{ kind, id, connection, attempt, flags, slot, waitMs, receivedAt },
      key: text(op.keyAt, op.keyLength),
      token: text(op.tokenAt, op.tokenLength),
      principal: text(op.principalAt, op.principalLength),
      fields: { mode, limit, origin, ttlMs, ownerLength },
    });
    if (this.refusing !== undefined) this.connections.refuse(connection, id, this.refusing);
  }
}
