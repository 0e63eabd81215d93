/** The WebSockets of a run. */
import { Connection, type Subprotocol } from './connection.ts';

/** Handshakes at a time: a server's queue of new connections is short. */
const OPENING_MAX = 128;
/** Without any new socket for so long the server is not there. */
const OPEN_MS = 10_000;

export interface SocketHandlers {
  /** Payload of one frame: view[at, end), valid during the call only. */
  onAnswers(view: DataView, at: number, end: number): void;
  /** An open socket was cut: nothing that was asked on it will be answered. It opens again by itself. */
  onCut(socket: number): void;
}

export class Sockets {
  readonly #url: URL;
  readonly #handlers: SocketHandlers;
  readonly #subprotocol: Subprotocol;
  readonly #connections: Connection[] = [];
  #touched: Connection[] = [];
  #opened = 0;

  constructor(url: string, subprotocol: Subprotocol, handlers: SocketHandlers) {
    this.#url = new URL(url);
    this.#subprotocol = subprotocol;
    this.#handlers = handlers;
  }

  get count(): number {
    return this.#connections.length;
  }

  /** Resolves when `count` of them are open. */
  open(count: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = (): void => {
        this.end();
        reject(
          new Error(`nobody answers at ${this.#url.host}: ${this.#opened} of ${count} sockets are open`),
        );
      };
      let timer = setTimeout(late, OPEN_MS);
      const onOpen = (): void => {
        if (++this.#opened > count) return;
        clearTimeout(timer);
        if (this.#opened === count) return resolve();
        timer = setTimeout(late, OPEN_MS);
        if (this.#connections.length < count) this.#connect(onOpen);
      };
      while (this.#connections.length < Math.min(count, OPENING_MAX)) this.#connect(onOpen);
    });
  }

  /** `frame` must stay as it is until its answers have come. */
  send(socket: number, frame: Buffer): void {
    const connection = this.#connections[socket];
    if (connection.send(frame)) this.#touched.push(connection);
  }

  /** Hands everything sent since the last flush to the kernel. */
  flush(): void {
    if (this.#touched.length === 0) return;
    for (const connection of this.#touched) connection.flush();
    this.#touched = [];
  }

  end(): void {
    for (const connection of this.#connections) connection.end();
  }

  #connect(onOpen: () => void): void {
    const socket = this.#connections.length;
    const { onAnswers, onCut } = this.#handlers;
    const handlers = { onAnswers, onOpen, onCut: () => onCut(socket) };
    this.#connections.push(new Connection(this.#url, handlers, this.#subprotocol));
  }
}
