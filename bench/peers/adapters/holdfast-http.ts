/**
 * Holdfast's HTTP API over keep-alive connections, one request at a time on
 * each, written by hand: what is compared is the server, not an HTTP client.
 */
import { randomUUID } from 'node:crypto';
import { connect as connectTo, type Socket } from 'node:net';
import type { LockClient, Shape } from '../peer.ts';

const TTL_MS = 30_000;
/** In the open model. */
const CONNECTIONS_MIN = 8;

interface Waiting {
  readonly request: string;
  readonly expected: string;
  resolve(): void;
  reject(error: Error): void;
}

class HttpConnection {
  readonly #socket: Socket;
  readonly #onIdle: (connection: HttpConnection) => void;
  #waiting: Waiting | undefined;
  #text = '';

  constructor(url: URL, onIdle: (connection: HttpConnection) => void) {
    this.#onIdle = onIdle;
    this.#socket = connectTo({ host: url.hostname, port: Number(url.port), noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text: string) => this.#data(text));
    this.#socket.on('error', (error) => this.#waiting?.reject(error));
    this.#socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')));
  }

  send(waiting: Waiting): void {
    this.#waiting = waiting;
    this.#socket.write(waiting.request, 'latin1');
  }

  close(): void {
    this.#waiting = undefined;
    this.#socket.destroy();
  }

  #data(text: string): void {
    this.#text += text;
    const headEnd = this.#text.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const length = /\r\ncontent-length: *(\d+)/i.exec(this.#text.slice(0, headEnd + 2))?.[1] ?? '0';
    if (this.#text.length < headEnd + 4 + Number(length)) return;
    const { expected, resolve, reject } = this.#waiting!;
    const answer = this.#text;
    this.#text = '';
    this.#waiting = undefined;
    this.#onIdle(this);
    if (answer.startsWith(expected, 'HTTP/1.1 '.length)) resolve();
    else reject(new Error(answer.split('\r\n', 1)[0]));
  }
}

class HttpClient implements LockClient {
  readonly #shape: Shape;
  readonly #host: string;
  readonly #connections: HttpConnection[] = [];
  readonly #idle: HttpConnection[];
  readonly #queue: Waiting[] = [];
  readonly #tokens: string[] = [];

  constructor(url: string, shape: Shape) {
    const parsed = new URL(url);
    this.#shape = shape;
    this.#host = parsed.host;
    const count = Math.max(shape.concurrency, CONNECTIONS_MIN);
    for (let i = 0; i < count; i++)
      this.#connections.push(new HttpConnection(parsed, (idle) => this.#next(idle)));
    this.#idle = [...this.#connections];
  }

  acquire(block: number): Promise<void> {
    const token = (this.#tokens[block] = randomUUID());
    const body = `{"ttlMs":${TTL_MS},"lockToken":"${token}"}`;
    const head = `Content-Type: application/json\r\nContent-Length: ${body.length}`;
    return this.#ask('POST', block, `${head}\r\n\r\n${body}`, '201');
  }

  release(block: number): Promise<void> {
    return this.#ask('DELETE', block, `Holdfast-Lock-Token: ${this.#tokens[block]}\r\n\r\n`, '204');
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close();
  }

  #ask(method: string, block: number, rest: string, expected: string): Promise<void> {
    const path = `/v1/locks/${this.#shape.nameOf(block)}`;
    const request = `${method} ${path} HTTP/1.1\r\nHost: ${this.#host}\r\n${rest}`;
    return new Promise((resolve, reject) => {
      const waiting = { request, expected, resolve, reject };
      const connection = this.#idle.pop();
      if (connection === undefined) this.#queue.push(waiting);
      else connection.send(waiting);
    });
  }

  #next(idle: HttpConnection): void {
    const waiting = this.#queue.shift();
    if (waiting === undefined) this.#idle.push(idle);
    else idle.send(waiting);
  }
}

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  return new HttpClient((target as { url: string }).url, shape);
}
