/**
 * One HTTP/2 connection to one etcd member, and unary gRPC calls on it.
 *
 *   connecting ─ settings arrived ─► ready ─ GOAWAY ─► draining ─► gone
 *        └─ error, time-out ─► gone ◄─ error, close, cut ─┘
 *
 * A connection counts as ready when the peer's SETTINGS have arrived, not when
 * TCP is up: the kernel accepts connections for a stopped process.
 *
 * A call that hears nothing for a third of its time asks for a ping; a ping
 * without an answer for another third means that the peer is frozen. Such a
 * peer, and one that lets a call run into its deadline, is cut off: the socket
 * is closed *before* the call fails, because HTTP/2 sends the caller's bytes
 * from where they lie and the caller may overwrite them from then on.
 *
 * (etcd answers more than two pings in 5 s that no data goes with by GOAWAY:
 * so pings are sent only when in doubt, never by a timer alone.)
 */
import { connect as connectHttp2 } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { connect as connectTcp, isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Call, type CallHost } from './call.ts';
import type { Access, Endpoint } from './credentials.ts';
import { neverSent } from './failure.ts';

type State = 'connecting' | 'ready' | 'draining' | 'gone';

export class Session implements CallHost {
  readonly endpoint: Endpoint;
  readonly #http2: ClientHttp2Session;
  readonly #socket: Socket;
  readonly #onEnd: (session: Session, reason: string) => void;
  readonly #calls = new Set<Call>();
  #state: State = 'connecting';

  /** `onEnd` is called once: when no new calls can be made any more. */
  private constructor(access: Access, endpoint: Endpoint, onEnd: (session: Session, reason: string) => void) {
    this.endpoint = endpoint;
    this.#onEnd = onEnd;
    this.#socket = openSocket(access, endpoint);
    this.#socket.on('error', (error) => this.cut(error.message));
    this.#http2 = connectHttp2(endpoint.url, {
      createConnection: () => this.#socket,
      settings: { enablePush: false },
    });
    this.#http2.on('error', (error) => this.cut(error.message));
    this.#http2.on('close', () => this.cut('connection closed'));
    this.#http2.on('goaway', () => this.retire('the member is going away'));
  }

  /** Resolves when the member can be talked to; rejects with a `refused` ShardError. */
  static open(
    access: Access,
    endpoint: Endpoint,
    timeoutMs: number,
    onEnd: (session: Session, reason: string) => void,
  ): Promise<Session> {
    return new Promise((resolve, reject) => {
      let ready = false;
      const session = new Session(access, endpoint, (ended, reason) => {
        clearTimeout(timer);
        if (ready) onEnd(ended, reason);
        else reject(neverSent(`${endpoint.url}: ${reason}`));
      });
      const timer = setTimeout(() => {
        // One turn of the loop more: when this thread was busy, the answer lies in the socket.
        setImmediate(() => !ready && session.cut(`no connection within ${timeoutMs} ms`));
      }, timeoutMs);
      session.#http2.once('remoteSettings', () => {
        clearTimeout(timer);
        if (session.#state !== 'connecting') return;
        ready = true;
        session.#state = 'ready';
        resolve(session);
      });
    });
  }

  /** New calls may be made. */
  get usable(): boolean {
    return this.#state === 'ready' && !this.#http2.closed;
  }

  /**
   * Sends the pieces back to back as one request message and resolves with the
   * answer's message. The pieces are the caller's again once it has settled.
   */
  call(path: string, token: string, pieces: readonly Uint8Array[], timeoutMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const headers: Record<string, string> = {
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        'grpc-timeout': `${Math.max(1, Math.floor(timeoutMs))}m`,
      };
      if (token !== '') headers['token'] = token;
      let stream: ClientHttp2Stream;
      try {
        stream = this.#http2.request(headers);
      } catch (error) {
        reject(neverSent(`${this.endpoint.url}: ${(error as Error).message}`, error));
        return;
      }
      this.#calls.add(new Call(this, stream, timeoutMs, resolve, reject));
      for (let i = 0; i < pieces.length - 1; i++) stream.write(pieces[i]);
      stream.end(pieces[pieces.length - 1]);
    });
  }

  /** Calls `answered` when the peer answers; never when the session dies first. */
  ping(answered: () => void): void {
    if (this.#http2.destroyed) return;
    this.#http2.ping((error) => {
      if (error === null) answered();
    });
  }

  /** A call is over. */
  release(call: Call): void {
    this.#calls.delete(call);
    if (this.#state === 'draining' && this.#calls.size === 0) this.cut('drained');
  }

  /** No new calls; those under way may finish. */
  retire(reason: string): void {
    if (this.#state !== 'ready') return;
    this.#state = 'draining';
    this.#onEnd(this, reason);
    if (this.#calls.size === 0) this.cut(reason);
  }

  /** Closes the socket at once: what was not yet handed to the kernel never leaves. */
  cut(reason: string): void {
    if (this.#state === 'gone') return;
    const before = this.#state;
    this.#state = 'gone';
    this.#socket.destroy();
    this.#http2.destroy();
    for (const call of this.#calls) call.lost(reason);
    if (before !== 'draining') this.#onEnd(this, reason);
  }
}

function openSocket(access: Access, endpoint: Endpoint): Socket {
  const { host, port } = endpoint;
  if (!access.tls) return connectTcp({ host, port, noDelay: true });
  return connectTls({
    host,
    port,
    ALPNProtocols: ['h2'],
    ...(isIP(host) === 0 && { servername: host }),
    ...(access.ca && { ca: access.ca }),
    ...(access.cert && { cert: access.cert }),
    ...(access.key && { key: access.key }),
  }).setNoDelay(true);
}
