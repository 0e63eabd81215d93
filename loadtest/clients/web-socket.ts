/**
 * Calls over WebSockets: what is sent between two flushes on one socket goes
 * out as one frame, up to a number of ops.
 */
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import type { Subprotocol } from '../connection.ts';
import { maskedHeaderBytes, writeMaskedHeader } from '../masked.ts';
import { Sockets } from '../sockets.ts';
import type { Call, OnAnswer, Transport } from './call.ts';

/** One of the two subprotocols. */
export interface Codec {
  readonly subprotocol: Subprotocol;
  readonly opcode: number;
  /** Appends the request to a frame's payload. */
  write(payload: GrowingBytes, id: number, call: Call, isFirst: boolean): void;
  /** What a frame of more than one request ends with. */
  finish(payload: GrowingBytes, ops: number): void;
  /** Reads view[at, end); `find` gives the open call of an id, `done` is to be called when its answer was final. */
  read(view: DataView, at: number, end: number, find: (id: number) => Call | undefined, done: OnDone): void;
}

export type OnDone = (id: number, call: Call) => void;

interface Outgoing {
  readonly payload: GrowingBytes;
  ops: number;
}

export class WebSocketTransport implements Transport {
  readonly #codec: Codec;
  readonly #count: number;
  readonly #opsPerFrame: number;
  readonly #onAnswer: OnAnswer;
  readonly #sockets: Sockets;
  readonly #outgoing: Outgoing[] = [];
  /** Sockets with a frame that is not sent yet. */
  #touched: number[] = [];
  /** Open calls by id, and ids that are free. */
  readonly #calls: (Call | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #find = (id: number): Call | undefined => this.#calls[id];
  readonly #done: OnDone;

  constructor(url: string, sockets: number, opsPerFrame: number, codec: Codec, onAnswer: OnAnswer) {
    this.#codec = codec;
    this.#count = sockets;
    this.#opsPerFrame = opsPerFrame;
    this.#onAnswer = onAnswer;
    this.#done = (id, call) => {
      this.#calls[id] = undefined;
      this.#free.push(id);
      this.#onAnswer(call);
    };
    this.#sockets = new Sockets(url, codec.subprotocol, {
      onAnswers: (view, at, end) => {
        codec.read(view, at, end, this.#find, this.#done);
        this.flush();
      },
      onCut: (socket) => this.#cut(socket),
    });
  }

  open(): Promise<void> {
    return this.#sockets.open(this.#count);
  }

  send(call: Call): void {
    const { socket } = call;
    const id = this.#free.pop() ?? this.#calls.length;
    this.#calls[id] = call;
    const outgoing = (this.#outgoing[socket] ??= { payload: new GrowingBytes(new ArrayBuffer(256)), ops: 0 });
    if (outgoing.ops === 0) this.#touched.push(socket);
    this.#codec.write(outgoing.payload, id, call, outgoing.ops === 0);
    if (++outgoing.ops >= this.#opsPerFrame) this.#sendFrame(socket, outgoing);
  }

  flush(): void {
    const touched = this.#touched;
    this.#touched = [];
    for (const socket of touched) {
      const outgoing = this.#outgoing[socket];
      if (outgoing.ops > 0) this.#sendFrame(socket, outgoing);
    }
    this.#sockets.flush();
  }

  end(): void {
    this.#sockets.end();
  }

  #sendFrame(socket: number, outgoing: Outgoing): void {
    const { payload } = outgoing;
    this.#codec.finish(payload, outgoing.ops);
    const headBytes = maskedHeaderBytes(payload.length);
    const frame = Buffer.allocUnsafe(headBytes + payload.length);
    writeMaskedHeader(frame, payload.length, this.#codec.opcode);
    frame.set(payload.bytes.subarray(0, payload.length), headBytes);
    payload.reset();
    outgoing.ops = 0;
    this.#sockets.send(socket, frame);
  }

  /** What was asked on it is not answered any more; what was about to be is not asked. */
  #cut(socket: number): void {
    const outgoing = this.#outgoing[socket];
    if (outgoing !== undefined) {
      outgoing.payload.reset();
      outgoing.ops = 0;
    }
    const lost = [...this.#calls.entries()].filter(([, call]) => call?.socket === socket);
    for (const [id, call] of lost) {
      call!.status = 0;
      call!.code = 'cut';
      this.#done(id, call!);
    }
  }
}
