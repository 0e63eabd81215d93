/**
 * Prepared frames: the driver must cost little next to what it measures, so
 * every frame it will ever send is written once, and only the lock tokens in
 * it change. All names of a run have one length, so a token's place is
 * arithmetic.
 *
 * A WebSocket client must mask (RFC 6455 §5.3). The mask here is zero, which
 * is legal, costs the server its unmasking all the same and the driver nothing.
 */
import { Kind, Op } from '../src/op.ts';
import { GrowingBytes } from '../src/protocol/bytes.ts';
import { writeRequest } from '../src/protocol/request.ts';
import type { Step } from './workloads.ts';

const TOKEN_BYTES = 16;

export interface FrameSettings {
  readonly blocks: number;
  readonly opsPerFrame: number;
  readonly ttlMs: number;
  /** Every name has this many bytes. */
  readonly nameBytes: number;
  nameOf(index: number): string;
}

/** The frames of one step, one a block. */
export class Frames {
  readonly #bytes: Buffer;
  readonly #frameBytes: number;
  readonly #headerBytes: number;
  readonly #requestBytes: number;
  readonly #tokenAt: number;
  readonly #frames: Buffer[] = [];

  constructor(step: Step, settings: FrameSettings) {
    const { blocks, opsPerFrame } = settings;
    const payload = new GrowingBytes();
    const op = new Op();
    const write = (block: number): void => {
      payload.length = 0;
      for (let i = 0; i < opsPerFrame; i++) {
        fillOp(op, step, block * opsPerFrame + i, settings);
        writeRequest(payload, op);
      }
    };
    write(0);
    this.#requestBytes = payload.length / opsPerFrame;
    // The token is the last field of a request without owner and metadata.
    this.#tokenAt = step === 'get' ? -1 : this.#requestBytes - TOKEN_BYTES;
    this.#headerBytes = maskedHeaderBytes(payload.length);
    this.#frameBytes = this.#headerBytes + payload.length;
    this.#bytes = Buffer.alloc(this.#frameBytes * blocks);
    for (let block = 0; block < blocks; block++) {
      const frame = this.#bytes.subarray(block * this.#frameBytes, (block + 1) * this.#frameBytes);
      this.#frames.push(frame);
      write(block);
      writeMaskedHeader(frame, payload.length);
      frame.set(payload.bytes.subarray(0, payload.length), this.#headerBytes);
    }
  }

  of(block: number): Buffer {
    return this.#frames[block];
  }

  /** Puts the token `seed ‖ count` (12 random bytes, 4 counted) into op `i` of `block`. */
  setToken(block: number, i: number, seed: Buffer, count: number): void {
    if (this.#tokenAt < 0) return;
    const at = block * this.#frameBytes + this.#headerBytes + i * this.#requestBytes + this.#tokenAt;
    seed.copy(this.#bytes, at);
    this.#bytes.writeUInt32LE(count, at + seed.length);
  }

  /** Only the counted part of every token of `block`. */
  countTokens(block: number, opsPerFrame: number, count: number): void {
    if (this.#tokenAt < 0) return;
    const bytes = this.#bytes;
    let at = block * this.#frameBytes + this.#headerBytes + this.#tokenAt + 12;
    for (let i = 0; i < opsPerFrame; i++, at += this.#requestBytes) {
      bytes[at] = count;
      bytes[at + 1] = count >>> 8;
      bytes[at + 2] = count >>> 16;
      bytes[at + 3] = count >>> 24;
    }
  }
}

/** Moves `op` to the request for name `id`; the token's place is there, its bytes come later. */
function fillOp(op: Op, step: Step, id: number, settings: FrameSettings): void {
  op.kind = Kind[step];
  op.id = id;
  op.ttlMs = step === 'acquire' ? settings.ttlMs : 0;
  op.bytes = Buffer.concat([Buffer.from(settings.nameOf(id)), Buffer.alloc(TOKEN_BYTES)]);
  op.keyLength = settings.nameBytes;
  op.tokenAt = settings.nameBytes;
  op.tokenLength = TOKEN_BYTES;
}

function maskedHeaderBytes(payloadBytes: number): number {
  return payloadBytes < 126 ? 6 : payloadBytes < 65_536 ? 8 : 14;
}

/** FIN, binary, masked with zero. */
function writeMaskedHeader(frame: Buffer, payloadBytes: number): void {
  frame[0] = 0x82;
  if (payloadBytes < 126) {
    frame[1] = 0x80 | payloadBytes;
  } else if (payloadBytes < 65_536) {
    frame[1] = 0x80 | 126;
    frame.writeUInt16BE(payloadBytes, 2);
  } else {
    frame[1] = 0x80 | 127;
    frame.writeBigUInt64BE(BigInt(payloadBytes), 2);
  }
}
