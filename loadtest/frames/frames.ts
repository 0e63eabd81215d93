/**
 * Prepared frames: the driver must cost little next to what it measures, so
 * every frame it will ever send is written once, and only the lock tokens in
 * it change. All names of a run have one length, so a token's place is
 * arithmetic.
 */
import { Kind, Op } from '../../src/op.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { writeRequest } from '../../src/protocol/request.ts';
import { BINARY, maskedHeaderBytes, writeMaskedHeader } from '../masked.ts';
import type { Names } from '../names.ts';

const TOKEN_BYTES = 16;

/** The kinds that frames are prepared of. */
export type FrameKind = 'acquire' | 'renew' | 'release' | 'get';

export interface FrameSettings {
  readonly blocks: number;
  readonly opsPerFrame: number;
  readonly ttlMs: number;
  readonly names: Names;
  /** The id of the first op of the first block. */
  readonly firstId: number;
}

/** The frames of one kind, one a block. */
export class Frames {
  readonly #bytes: Buffer;
  readonly #frameBytes: number;
  readonly #headerBytes: number;
  readonly #requestBytes: number;
  readonly #tokenAt: number;
  readonly #frames: Buffer[] = [];

  constructor(kind: FrameKind, settings: FrameSettings) {
    const { blocks, opsPerFrame } = settings;
    const payload = new GrowingBytes();
    const op = new Op();
    const write = (block: number): void => {
      payload.length = 0;
      for (let i = 0; i < opsPerFrame; i++) {
        fillOp(op, kind, block * opsPerFrame + i, settings);
        writeRequest(payload, op);
      }
    };
    write(0);
    this.#requestBytes = payload.length / opsPerFrame;
    // The token is the last field of a request without owner and metadata.
    this.#tokenAt = kind === 'get' ? -1 : this.#requestBytes - TOKEN_BYTES;
    this.#headerBytes = maskedHeaderBytes(payload.length);
    this.#frameBytes = this.#headerBytes + payload.length;
    this.#bytes = Buffer.alloc(this.#frameBytes * blocks);
    for (let block = 0; block < blocks; block++) {
      const frame = this.#bytes.subarray(block * this.#frameBytes, (block + 1) * this.#frameBytes);
      this.#frames.push(frame);
      write(block);
      writeMaskedHeader(frame, payload.length, BINARY);
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

/** Moves `op` to the request for the name `index`; the token's place is there, its bytes come later. */
function fillOp(op: Op, kind: FrameKind, index: number, settings: FrameSettings): void {
  const { nameBytes, nameOf } = settings.names;
  op.kind = Kind[kind];
  op.id = settings.firstId + index;
  op.ttlMs = kind === 'acquire' ? settings.ttlMs : 0;
  op.bytes = Buffer.concat([Buffer.from(nameOf(index)), Buffer.alloc(TOKEN_BYTES)]);
  op.keyLength = nameBytes;
  op.tokenAt = nameBytes;
  op.tokenLength = TOKEN_BYTES;
}
