/**
 * Sending to a WebSocket whose reader may be slow: what the kernel does not
 * take waits in the process, bounded per socket (uWS closes it past that) and,
 * here, over all sockets together.
 */
import type { WebSocket } from 'uWebSockets.js';

/** Unsent bytes of all sockets; past it the socket that just grew is closed. */
export const BACKLOG_BYTES_MAX = 256 * 1024 * 1024;

const DROPPED = 2;

/** Bytes that wait for slow readers, of the whole process. */
export class Backlog {
  bytes = 0;
}

export class Outlet {
  closed = false;
  private readonly ws: WebSocket<unknown>;
  private readonly backlog: Backlog;
  private waiting = 0;

  constructor(ws: WebSocket<unknown>, backlog: Backlog) {
    this.ws = ws;
    this.backlog = backlog;
  }

  send(message: Uint8Array | string, isBinary: boolean): void {
    if (this.closed) return;
    const result = this.ws.send(message, isBinary);
    if (result === 1 && this.waiting === 0) return;
    if (result === DROPPED || this.drained() > BACKLOG_BYTES_MAX) this.cut();
  }

  /** Several sends as one write. */
  together(sends: () => void): void {
    if (!this.closed) this.ws.cork(sends);
  }

  /** Takes the socket's backlog anew; returns that of the process. */
  drained(): number {
    if (this.closed) return this.backlog.bytes;
    const waiting = this.ws.getBufferedAmount();
    this.backlog.bytes += waiting - this.waiting;
    this.waiting = waiting;
    return this.backlog.bytes;
  }

  /** With a close frame behind what was sent. */
  end(code: number, reason: string): void {
    if (!this.closed) this.ws.end(code, reason);
  }

  cut(): void {
    if (!this.closed) this.ws.close();
  }

  /** uWS said that the socket is closed: it must not be touched any more. */
  gone(): void {
    this.closed = true;
    this.backlog.bytes -= this.waiting;
    this.waiting = 0;
  }
}
