/**
 * A request of a binary socket that is more than one op: a wait, a watch, or
 * one of a session. It is the target of whoever takes it (coordination.ts); its
 * answers are the lanes' own, with the client's id.
 */
import type { ErrorCode } from '../errors.ts';
import { type Op, OpFlag } from '../op.ts';
import { ANSWER_ID_AT, type AnswerBytes } from '../protocol/answer.ts';
import { copyOf } from '../protocol/bytes.ts';
import type { Handle, Target } from './coordination.ts';

/** The socket that it came over. */
export interface BinaryRequestHost {
  pass(source: AnswerBytes, at: number, end: number): void;
  /** The request has its last answer. */
  over(id: number): void;
  fault(id: number, code: ErrorCode, token: Uint8Array): void;
}

const NO_TOKEN = new Uint8Array(0);

export class BinaryRequest implements Target {
  handle: Handle | undefined;
  private readonly host: BinaryRequestHost;
  private readonly id: number;
  private readonly madeToken: Uint8Array;

  constructor(host: BinaryRequestHost, op: Op) {
    const { bytes, tokenAt, tokenLength } = op;
    this.host = host;
    this.id = op.id;
    this.madeToken = op.flags & OpFlag.madeToken ? copyOf(bytes, tokenAt, tokenAt + tokenLength) : NO_TOKEN;
  }

  interim(source: AnswerBytes, at: number, end: number): void {
    source.view.setUint32(at + ANSWER_ID_AT, this.id, true);
    this.host.pass(source, at, end);
  }

  final(source: AnswerBytes, at: number, end: number): void {
    this.host.over(this.id);
    this.interim(source, at, end);
  }

  refused(code: ErrorCode): void {
    this.host.over(this.id);
    this.host.fault(this.id, code, code === 'outcome_unknown' ? this.madeToken : NO_TOKEN);
  }
}
