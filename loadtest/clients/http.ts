/**
 * Calls over HTTP/1.1: keep-alive connections, each with up to `pipelining`
 * requests that have no answer yet. Acquires name their lock token, so that all
 * of them may be sent again and pipelined.
 *
 * undici's dispatch costs 20 µs of processor time a request, node:http's agent 43.
 */
import { Client, type Dispatcher } from 'undici';
import { tokenText, type Call, type OnAnswer, type Transport } from './call.ts';
import { acquireFields, noteAnswer } from './json.ts';

/** An answer that takes longer than a wait may is none. */
const ANSWER_MS = 320_000;

interface Request {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: string;
  readonly token?: string;
}

export class HttpTransport implements Transport {
  readonly #clients: Client[];
  readonly #onAnswer: OnAnswer;
  readonly #authorization: string | undefined;

  constructor(url: string, sockets: number, pipelining: number, onAnswer: OnAnswer) {
    const { protocol, host, password } = new URL(url);
    const origin = `${protocol.replace('ws', 'http')}//${host}`;
    this.#authorization = password === '' ? undefined : `Bearer ${decodeURIComponent(password)}`;
    this.#onAnswer = onAnswer;
    const times = { headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS, keepAliveTimeout: ANSWER_MS };
    this.#clients = Array.from({ length: sockets }, () => new Client(origin, { pipelining, ...times }));
  }

  /** Connections open when they are first used; whether the server is there is asked once. */
  async open(): Promise<void> {
    const { body } = await this.#clients[0].request({ method: 'GET', path: '/readyz' });
    await body.dump();
  }

  send(call: Call): void {
    const { method, path, body, token } = requestOf(call);
    const headers: string[] = [];
    if (body !== undefined) headers.push('content-type', 'application/json');
    if (token !== undefined) headers.push('holdfast-lock-token', token);
    if (this.#authorization !== undefined) headers.push('authorization', this.#authorization);
    const options = { method, path, headers, body: body ?? null, idempotent: true, blocking: false };
    this.#clients[call.socket].dispatch(options, new Answer(call, this.#onAnswer));
  }

  flush(): void {}

  end(): void {
    for (const client of this.#clients) void client.destroy();
  }
}

class Answer implements Dispatcher.DispatchHandler {
  readonly #call: Call;
  readonly #onAnswer: OnAnswer;
  #status = 0;
  #chunks: Buffer[] = [];

  constructor(call: Call, onAnswer: OnAnswer) {
    this.#call = call;
    this.#onAnswer = onAnswer;
  }

  onRequestStart(): void {}

  onResponseStart(_controller: Dispatcher.DispatchController, status: number): void {
    this.#status = status;
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    const chunks = this.#chunks;
    const text = chunks.length === 1 ? chunks[0].toString() : Buffer.concat(chunks).toString();
    noteAnswer(this.#call, this.#status, text === '' ? {} : (JSON.parse(text) as object));
    this.#onAnswer(this.#call);
  }

  onResponseError(): void {
    this.#call.status = 0;
    this.#call.code = 'cut';
    this.#onAnswer(this.#call);
  }
}

function requestOf(call: Call): Request {
  const { kind } = call;
  const lock = `/v1/locks/${encodeURIComponent(call.name)}`;
  switch (kind) {
    case 'acquire':
      return { method: 'POST', path: lock, body: JSON.stringify(acquireFields(call)) };
    case 'renew':
      return { method: 'PUT', path: lock, token: tokenText(call.token!) };
    case 'release':
      return { method: 'DELETE', path: lock, token: tokenText(call.token!) };
    case 'get':
      return { method: 'GET', path: lock };
    case 'cached':
      return { method: 'GET', path: `${lock}?consistency=cached` };
    case 'session.open': {
      const body = JSON.stringify({ sessionId: tokenText(call.session!), ttlMs: call.ttlMs });
      return { method: 'POST', path: '/v1/sessions', body };
    }
    case 'session.keepalive':
      return { method: 'PUT', path: `/v1/sessions/${tokenText(call.session!)}` };
    case 'session.end':
      return { method: 'DELETE', path: `/v1/sessions/${tokenText(call.session!)}` };
  }
}
