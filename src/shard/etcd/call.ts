/**
 * One unary gRPC call on an HTTP/2 stream: from the request's headers to an
 * answer, a status, or a deadline. How it watches over a silent peer is told
 * in session.ts.
 */
import { constants } from 'node:http2';
import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { EtcdError, neverSent } from './failure.ts';
import { GRPC_PREFIX_BYTES } from './messages.ts';

/** Most answers to the calls made here are a few hundred bytes; a page of slot records may have some hundred KB. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;

/** The connection that a call is made on, as far as a call needs it. */
export interface CallHost {
  readonly endpoint: { readonly url: string };
  ping(answered: () => void): void;
  release(call: Call): void;
  cut(reason: string): void;
}

export class Call {
  readonly #session: CallHost;
  readonly #stream: ClientHttp2Stream;
  readonly #timeoutMs: number;
  readonly #resolve: (message: Uint8Array) => void;
  readonly #reject: (error: Error) => void;
  #timer: NodeJS.Timeout;
  #answer: Buffer | undefined;
  #open = true;

  constructor(
    session: CallHost,
    stream: ClientHttp2Stream,
    timeoutMs: number,
    resolve: (message: Uint8Array) => void,
    reject: (error: Error) => void,
  ) {
    this.#session = session;
    this.#stream = stream;
    this.#timeoutMs = timeoutMs;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = setTimeout(() => this.#probe(), timeoutMs / 3);
    stream.on('response', (headers) => this.#status(headers));
    stream.on('trailers', (headers) => this.#status(headers));
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('error', () => undefined);
    stream.on('close', () => this.#closed());
  }

  /** The connection is gone, and with it the answer. */
  lost(reason: string): void {
    this.#fail(new EtcdError(-1, `${this.#session.endpoint.url}: ${reason}`));
  }

  #probe(): void {
    let answered = false;
    this.#session.ping(() => (answered = true));
    this.#timer = setTimeout(() => {
      if (answered) this.#timer = setTimeout(() => this.#giveUp('no answer'), this.#timeoutMs / 3);
      else this.#giveUp('the member does not answer pings', () => answered);
    }, this.#timeoutMs / 3);
  }

  /**
   * After one more turn of the loop: when this thread was busy for long, timers
   * run first and the answer still lies in the socket.
   */
  #giveUp(reason: string, unless?: () => boolean): void {
    setImmediate(() => {
      if (!this.#open) return;
      if (unless?.()) this.#timer = setTimeout(() => this.#giveUp('no answer'), this.#timeoutMs / 3);
      else this.#session.cut(`${reason} within ${Math.round(this.#timeoutMs)} ms`);
    });
  }

  #data(chunk: Buffer): void {
    if (!this.#open) return;
    const answer = this.#answer === undefined ? chunk : Buffer.concat([this.#answer, chunk]);
    this.#answer = answer;
    if (answer.length < GRPC_PREFIX_BYTES) return;
    const length = answer.readUInt32BE(1);
    if (answer[0] !== 0 || length > ANSWER_BYTES_MAX) {
      this.#fail(new EtcdError(-1, `${this.#session.endpoint.url}: an answer that is not understood`));
      this.#stream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    if (answer.length >= GRPC_PREFIX_BYTES + length) {
      this.#succeed(answer.subarray(GRPC_PREFIX_BYTES, GRPC_PREFIX_BYTES + length));
    }
  }

  /** Headers of an answer without a message, or its trailers. */
  #status(headers: IncomingHttpHeaders): void {
    const http = headers[':status'];
    if (http !== undefined && Number(http) !== 200) {
      this.#fail(new EtcdError(-1, `${this.#session.endpoint.url}: HTTP status ${http}`));
      return;
    }
    const status = headers['grpc-status'];
    if (status === undefined || status === '0') return;
    const detail = decodeMessage(String(headers['grpc-message'] ?? ''));
    this.#fail(
      new EtcdError(Number(status), `${this.#session.endpoint.url}: ${detail} (gRPC status ${status})`),
    );
  }

  #closed(): void {
    if (!this.#open) return;
    const { url } = this.#session.endpoint;
    if (this.#stream.rstCode === constants.NGHTTP2_REFUSED_STREAM)
      this.#fail(neverSent(`${url}: stream refused`));
    else this.#fail(new EtcdError(-1, `${url}: the stream ended without an answer`));
  }

  #succeed(message: Uint8Array): void {
    if (!this.#end()) return;
    this.#resolve(message);
  }

  #fail(error: Error): void {
    if (!this.#end()) return;
    this.#reject(error);
  }

  #end(): boolean {
    if (!this.#open) return false;
    this.#open = false;
    clearTimeout(this.#timer);
    this.#session.release(this);
    return true;
  }
}

/** gRPC percent-encodes what is not printable ASCII; a message that is not well-formed stays as it is. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
