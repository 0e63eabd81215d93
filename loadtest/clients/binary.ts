/** Calls in holdfast.v1.bin. */
import { codeOfWire } from '../../src/errors.ts';
import { Kind, Op, SESSION_KEY } from '../../src/op.ts';
import {
  ANSWER_HEAD_BYTES,
  ANSWER_ID_AT,
  ANSWER_STATUS_AT,
  CLAIM_EXPIRES_AT,
  CLAIM_WAITED_AT,
  Event,
  FINAL_STATUS_MIN,
  Section,
} from '../../src/protocol/answer.ts';
import { type GrowingBytes, readU64 } from '../../src/protocol/bytes.ts';
import { writeRequest } from '../../src/protocol/request.ts';
import { BINARY } from '../masked.ts';
import type { Call as CallKind } from '../workload.ts';
import type { Call } from './call.ts';
import type { Codec, OnDone } from './web-socket.ts';

const KINDS: Readonly<Record<CallKind, number>> = {
  acquire: Kind.acquire,
  renew: Kind.renew,
  release: Kind.release,
  get: Kind.get,
  cached: 0,
  'session.open': Kind.sessionOpen,
  'session.keepalive': Kind.sessionRenew,
  'session.end': Kind.sessionEnd,
};

const NO_BYTES = Buffer.alloc(0);
const SESSION_PREFIX = Buffer.from([SESSION_KEY]);

export class BinaryCodec implements Codec {
  readonly subprotocol = 'holdfast.v1.bin';
  readonly opcode = BINARY;
  readonly #op = new Op();
  readonly #bytes = Buffer.alloc(1024);

  write(payload: GrowingBytes, id: number, call: Call): void {
    const op = this.#op;
    op.clear();
    op.kind = KINDS[call.kind];
    op.id = id;
    op.bytes = this.#bytes;
    const { session, name } = call;
    if (call.kind.startsWith('session.')) {
      // The key of a session is its id behind one byte.
      op.keyLength = this.#put(0, Buffer.concat([SESSION_PREFIX, session!]));
      op.ttlMs = call.kind === 'session.open' ? call.ttlMs : 0;
    } else {
      const token = call.token ?? NO_BYTES;
      op.keyLength = this.#bytes.write(name, 0);
      op.tokenAt = op.keyLength;
      op.tokenLength = this.#put(op.tokenAt, token);
      if (call.kind === 'acquire') this.#fillAcquire(op, call);
    }
    writeRequest(payload, op);
  }

  finish(): void {}

  read(view: DataView, at: number, end: number, find: (id: number) => Call | undefined, done: OnDone): void {
    for (let next = at; next < end; next += view.getUint32(next, true)) {
      const id = view.getUint32(next + ANSWER_ID_AT, true);
      const call = find(id);
      if (call === undefined) continue;
      const status = view.getUint16(next + ANSWER_STATUS_AT, true);
      if (status < FINAL_STATUS_MIN) {
        if (status === Event.queued) call.wasQueued = true;
        continue;
      }
      const code = view.getUint8(next + 10);
      call.status = status;
      call.code = code === 0 ? '' : (codeOfWire(code) ?? `status ${status}`);
      if (view.getUint8(next + 11) & Section.claim) {
        call.fencingToken = readU64(view, next + ANSWER_HEAD_BYTES);
        call.waitedMs = view.getUint32(next + CLAIM_WAITED_AT, true);
        call.expiresInMs = view.getUint32(next + CLAIM_EXPIRES_AT, true);
      }
      done(id, call);
    }
  }

  #fillAcquire(op: Op, call: Call): void {
    op.mode = call.mode;
    op.limit = call.limit;
    op.waitMs = call.waitMs;
    if (call.session === undefined) {
      op.ttlMs = call.ttlMs;
    } else {
      op.sessionAt = op.tokenAt + op.tokenLength;
      op.sessionLength = this.#put(op.sessionAt, call.session);
    }
  }

  /** Returns its length. */
  #put(at: number, bytes: Buffer): number {
    return bytes.copy(this.#bytes, at);
  }
}
