/**
 * What carries the frames of a link: a WebSocket to the peer's front (npm `ws`).
 * The link knows it only as a `Wire`, so the simulation can bring its own.
 */
import { Buffer } from 'node:buffer';
import { WebSocket } from 'ws';
import { LIMITS } from '../limits.ts';

/** One connection to a peer, from its opening on. A broken one is never used again. */
export interface Wire {
  /** Takes a copy of the frame. Once `opened` was called; nothing happens after the end. */
  send(frame: Uint8Array): void;
  /** Bytes that the network has not taken yet. */
  readonly unsent: number;
  /** Cuts it at once. No event comes any more. */
  close(): void;
}

/** Never called from within a call to the wire. */
export interface WireEvents {
  opened(): void;
  /** A whole frame; its bytes are the receiver's to change and gone after the call. */
  message(frame: Uint8Array<ArrayBuffer>): void;
  /** Once, after which nothing comes. */
  closed(reason: string): void;
}

/** Begins to connect to HOST:PORT. */
export type OpenWire = (address: string, events: WireEvents) => Wire;

/** The path at which a process takes the links of its peers. */
export const PEER_PATH = '/v1/peer';

/** A frame of answers: those of one round, and one page of a listing more. */
const FRAME_BYTES_MAX = 2 * LIMITS.roundAnswerBytesMax;

/**
 * Without compression, and with a mask of zeros: masks protect proxies from
 * scripts in web pages, and there are none here.
 */
export const openWebSocket: OpenWire = (address, events) => new WebSocketWire(address, events);

class WebSocketWire implements Wire {
  private readonly ws: WebSocket;
  private readonly copies = new Copies();
  private over = false;

  constructor(address: string, events: WireEvents) {
    this.ws = new WebSocket(`ws://${address}${PEER_PATH}`, {
      perMessageDeflate: false,
      maxPayload: FRAME_BYTES_MAX,
      handshakeTimeout: LIMITS.peerSilenceMs,
      generateMask: (mask) => void mask.fill(0),
      skipUTF8Validation: true,
    });
    let fault = '';
    const end = (reason: string): void => {
      if (this.over) return;
      this.over = true;
      events.closed(reason);
    };
    this.ws.on('open', () => this.over || events.opened());
    this.ws.on('message', (data, isBinary) => {
      if (this.over) return;
      if (isBinary) return events.message(data as Buffer<ArrayBuffer>);
      end('it sent text');
      this.ws.terminate();
    });
    this.ws.on(
      'error',
      (error) => (fault = error.message || (error as NodeJS.ErrnoException).code || 'error'),
    );
    this.ws.on('close', (code, reason) => {
      const text = reason.toString();
      end(text !== '' ? text : fault !== '' ? fault : `closed with ${code}`);
    });
  }

  get unsent(): number {
    return this.ws.bufferedAmount;
  }

  send(frame: Uint8Array): void {
    if (this.over || this.ws.readyState !== WebSocket.OPEN) return;
    const copy = this.copies.take(frame);
    this.ws.send(copy.bytes, { binary: true, compress: false }, copy.written);
  }

  close(): void {
    this.over = true;
    this.ws.terminate();
  }
}

const CHUNK_BYTES = 512 * 1024;

interface Chunk {
  readonly bytes: Buffer;
  used: number;
  /** Frames in it that the network has not taken yet. */
  waiting: number;
  readonly written: () => void;
}

/** Memory for frames under way, used again and again: fresh buffers for each would keep the garbage collector busy. */
class Copies {
  private current = newChunk();
  private spare: Chunk | undefined;

  take(frame: Uint8Array): { bytes: Uint8Array; written: () => void } {
    if (this.current.waiting === 0) this.current.used = 0;
    if (this.current.used + frame.length > CHUNK_BYTES) this.turn(frame.length);
    const { current } = this;
    const bytes = current.bytes.subarray(current.used, current.used + frame.length);
    bytes.set(frame);
    current.used += frame.length;
    current.waiting++;
    return { bytes, written: current.written };
  }

  /** The full chunk becomes the spare one, for the time when all of it is written. */
  private turn(atLeast: number): void {
    const full = this.current;
    const { spare } = this;
    if (spare !== undefined && spare.waiting === 0 && atLeast <= spare.bytes.length) {
      spare.used = 0;
      this.current = spare;
    } else {
      this.current = newChunk(Math.max(atLeast, CHUNK_BYTES));
    }
    this.spare = full;
  }
}

function newChunk(bytes = CHUNK_BYTES): Chunk {
  const chunk: Chunk = {
    bytes: Buffer.allocUnsafeSlow(bytes),
    used: 0,
    waiting: 0,
    written: () => void chunk.waiting--,
  };
  return chunk;
}
