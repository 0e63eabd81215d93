/**
 * One WebSocket over a plain socket, for a driver that must be cheap: prepared
 * frames go out untouched (one writev a turn), and answers are read where the
 * kernel put them.
 *
 *   connecting ─► open ─► closed ─► connecting … (until end())
 *
 * Frames sent while it is not open leave as soon as it is.
 */
import { createHash, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { BINARY, TEXT } from './masked.ts';

const READ_BYTES = 256 * 1024;
/**
 * What the kernel's bytes are read into: by all connections in turn, because a
 * read is handled before the next one begins. Ten thousand sockets need no
 * memory of their own for it.
 */
const CHUNK = Buffer.allocUnsafeSlow(READ_BYTES);
const CHUNK_VIEW = viewOf(CHUNK);
const NOTHING = Buffer.alloc(0);
const RECONNECT_MS = 100;
const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export interface ConnectionHandlers {
  /** One frame's payload: view[at, end), binary or text. Valid during the call only. */
  onAnswers(view: DataView, at: number, end: number): void;
  onOpen(): void;
  /** An open connection was cut: nothing that was asked on it will be answered. */
  onCut(reason: string): void;
}

export type Subprotocol = 'holdfast.v1.bin' | 'holdfast.v1.json';

export class Connection {
  readonly #url: URL;
  readonly #subprotocol: Subprotocol;
  readonly #handlers: ConnectionHandlers;
  /** What is left of a frame whose end has not come yet. */
  #rest = NOTHING;
  #restView = viewOf(this.#rest);
  #restEnd = 0;
  #socket: Socket | undefined;
  #open = false;
  #ended = false;
  #corked = false;
  #backlog: Buffer[] = [];
  #accept = '';
  readonly #opcode: number;

  constructor(url: URL, handlers: ConnectionHandlers, subprotocol: Subprotocol = 'holdfast.v1.bin') {
    this.#url = url;
    this.#subprotocol = subprotocol;
    this.#opcode = subprotocol === 'holdfast.v1.bin' ? BINARY : TEXT;
    this.#handlers = handlers;
    this.#connect();
  }

  /**
   * `frame` must stay as it is until its answers have come. Returns whether it
   * is the first one since the last flush.
   */
  send(frame: Buffer): boolean {
    if (!this.#open || this.#socket === undefined) {
      this.#backlog.push(frame);
      return false;
    }
    const isFirst = !this.#corked;
    if (isFirst) {
      this.#socket.cork();
      this.#corked = true;
    }
    this.#socket.write(frame);
    return isFirst;
  }

  /** Hands everything sent since the last flush to the kernel in one call. */
  flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket!.uncork();
  }

  end(): void {
    this.#ended = true;
    this.#socket?.destroy();
  }

  #connect(): void {
    if (this.#ended) return;
    const { hostname, port } = this.#url;
    const key = randomBytes(16).toString('base64');
    this.#accept = createHash('sha1')
      .update(key + KEY_SUFFIX)
      .digest('base64');
    this.#restEnd = 0;
    const onread = { buffer: CHUNK, callback: (length: number) => this.#read(length) };
    const socket = connect({ host: hostname, port: Number(port), noDelay: true, onread });
    this.#socket = socket;
    socket.on('connect', () => socket.write(handshake(this.#url, key, this.#subprotocol)));
    socket.on('error', () => {});
    socket.on('close', () => this.#closed('the server closed the connection'));
  }

  #closed(reason: string): void {
    const wasOpen = this.#open;
    this.#open = false;
    this.#corked = false;
    this.#socket = undefined;
    if (this.#ended) return;
    if (wasOpen) this.#handlers.onCut(reason);
    setTimeout(() => this.#connect(), RECONNECT_MS);
  }

  #read(length: number): boolean {
    if (this.#restEnd === 0) {
      const done = this.#consume(CHUNK, CHUNK_VIEW, length);
      if (done < length) this.#keep(done, length);
      return true;
    }
    this.#keep(0, length);
    const done = this.#consume(this.#rest, this.#restView, this.#restEnd);
    this.#rest.copyWithin(0, done, this.#restEnd);
    this.#restEnd -= done;
    return true;
  }

  #keep(from: number, to: number): void {
    const needed = this.#restEnd + to - from;
    if (needed > this.#rest.length) {
      const larger = Buffer.allocUnsafeSlow(needed * 2);
      this.#rest.copy(larger, 0, 0, this.#restEnd);
      this.#rest = larger;
      this.#restView = viewOf(larger);
    }
    CHUNK.copy(this.#rest, this.#restEnd, from, to);
    this.#restEnd = needed;
  }

  /** Returns how many bytes were whole frames. */
  #consume(bytes: Buffer, view: DataView, end: number): number {
    let at = 0;
    if (!this.#open) {
      at = this.#finishHandshake(bytes, end);
      if (at === 0) return 0;
    }
    while (end - at >= 2) {
      const short = bytes[at + 1] & 0x7f;
      const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (end - at < headBytes) break;
      const length =
        short < 126 ? short : short === 126 ? view.getUint16(at + 2) : Number(view.getBigUint64(at + 2));
      const from = at + headBytes;
      if (end - from < length) break;
      at = from + length;
      this.#frame(bytes[from - headBytes], bytes, view, from, at);
    }
    this.flush();
    return at;
  }

  #frame(first: number, bytes: Buffer, view: DataView, from: number, to: number): void {
    const opcode = first & 0x0f;
    if (opcode === this.#opcode && (first & 0x80) !== 0) this.#handlers.onAnswers(view, from, to);
    else if (opcode === 9) this.#socket?.write(pong(bytes.subarray(from, to)));
    else if (opcode === 8) this.#socket?.destroy();
    else if (opcode !== 10)
      throw new Error(`a frame with first byte ${first} is not part of ${this.#subprotocol}`);
  }

  #finishHandshake(bytes: Buffer, end: number): number {
    const headEnd = bytes.subarray(0, end).indexOf('\r\n\r\n');
    if (headEnd < 0) return 0;
    const head = bytes.subarray(0, headEnd).toString('latin1');
    if (!head.startsWith('HTTP/1.1 101') || !head.includes(this.#accept)) {
      throw new Error(`the server refused the WebSocket: ${head.split('\r\n')[0]}`);
    }
    this.#open = true;
    this.#handlers.onOpen();
    const waiting = this.#backlog;
    this.#backlog = [];
    for (const frame of waiting) this.send(frame);
    return headEnd + 4;
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function handshake(url: URL, key: string, subprotocol: Subprotocol): string {
  return [
    `GET ${url.pathname === '/' ? '/v1/ws' : url.pathname} HTTP/1.1`,
    `Host: ${url.host}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Key: ${key}`,
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Protocol: ${subprotocol}`,
    ...(url.password === '' ? [] : [`Authorization: Bearer ${decodeURIComponent(url.password)}`]),
    '\r\n',
  ].join('\r\n');
}

function pong(payload: Buffer): Buffer {
  const frame = Buffer.alloc(6 + payload.length);
  frame[0] = 0x8a;
  frame[1] = 0x80 | payload.length;
  payload.copy(frame, 6);
  return frame;
}
