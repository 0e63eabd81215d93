/**
 * The way to one etcd cluster for the calls Holdfast writes by hand: one
 * connection at a time, to whichever member answers.
 *
 * A connection is made when a call needs one. When it ends, or a member says
 * that it can't serve, the next call goes to the next member. When none of
 * them could be reached, everybody who waited is told so (`refused`), and the
 * next round begins after a pause of 50 ms – 1 s that doubles each time.
 */
import type { Access } from './credentials.ts';
import { EtcdError, neverSent } from './failure.ts';
import { decodeToken, encodeAuthenticate } from './messages.ts';
import { Session } from './session.ts';

const BACKOFF_MS_MIN = 50;
const BACKOFF_MS_MAX = 1_000;
/** Less than this left of a call's time: it isn't sent any more. */
const SEND_MS_MIN = 20;

const AUTHENTICATE = '/etcdserverpb.Auth/Authenticate';

export class Channel {
  readonly #access: Access;
  readonly #timeoutMs: number;
  /** Told when a member turned out to be unreachable or frozen: others who talk to it may want to know. */
  readonly #onEndpointLost: ((url: string) => void) | undefined;
  #session: Session | undefined;
  #opening: Promise<Session> | undefined;
  #token: Promise<string> | undefined;
  #next = 0;
  #backoffMs = 0;
  #closed = false;

  /** `timeoutMs` is the longest any call takes, connecting included. */
  constructor(access: Access, timeoutMs: number, onEndpointLost?: (url: string) => void) {
    this.#access = access;
    this.#timeoutMs = timeoutMs;
    this.#onEndpointLost = onEndpointLost;
  }

  /**
   * One unary call. The pieces of the request (its gRPC prefix included) are
   * read until it settles and never after. Rejects with a ShardError.
   */
  async call(path: string, pieces: readonly Uint8Array[]): Promise<Uint8Array> {
    const deadline = performance.now() + this.#timeoutMs;
    try {
      return await this.#attempt(path, pieces, deadline);
    } catch (error) {
      if (!(error instanceof EtcdError) || !error.staleToken || this.#access.username === undefined)
        throw error;
      this.#token = undefined;
      return this.#attempt(path, pieces, deadline);
    }
  }

  async #attempt(path: string, pieces: readonly Uint8Array[], deadline: number): Promise<Uint8Array> {
    let session = this.#session;
    if (session === undefined || !session.usable) session = await this.#within(deadline, this.#open());
    const token =
      this.#access.username === undefined ? '' : await this.#within(deadline, this.#authenticate(session));
    const leftMs = deadline - performance.now();
    if (leftMs < SEND_MS_MIN) throw neverSent(`${this.#access.shard}: no connection in time`);
    try {
      return await session.call(path, token, pieces, leftMs);
    } catch (error) {
      if (error instanceof EtcdError && error.endpointFault && this.#access.endpoints.length > 1) {
        session.retire(error.message);
      }
      throw error;
    }
  }

  /** Resolves at once when there is a connection; joins the attempt that is under way otherwise. */
  #open(): Promise<Session> {
    if (this.#closed) return Promise.reject(neverSent(`${this.#access.shard}: closed`));
    this.#opening ??= this.#connect().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async #connect(): Promise<Session> {
    if (this.#backoffMs > 0)
      await new Promise((resolve) => setTimeout(resolve, this.#backoffMs * (0.5 + Math.random() / 2)));
    const { endpoints } = this.#access;
    let failure: unknown;
    for (let tried = 0; tried < endpoints.length && !this.#closed; tried++) {
      const endpoint = endpoints[this.#next % endpoints.length];
      try {
        const session = await Session.open(this.#access, endpoint, this.#connectMs(), (ended, reason) =>
          this.#ended(ended, reason),
        );
        return this.#adopt(session);
      } catch (error) {
        failure = error;
        this.#next++;
        this.#onEndpointLost?.(endpoint.url);
      }
    }
    this.#backoffMs = Math.min(BACKOFF_MS_MAX, Math.max(BACKOFF_MS_MIN, this.#backoffMs * 2));
    throw neverSent(`${this.#access.shard}: no member can be reached (${describe(failure)})`, failure);
  }

  #adopt(session: Session): Session {
    this.#backoffMs = 0;
    if (this.#closed) {
      session.cut('closed');
      throw neverSent(`${this.#access.shard}: closed`);
    }
    this.#session = session;
    return session;
  }

  /** Half of a call's time, so that a second member can still be asked. */
  #connectMs(): number {
    return this.#timeoutMs / 2;
  }

  #ended(session: Session, _reason: string): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#next++;
    this.#onEndpointLost?.(session.endpoint.url);
  }

  #authenticate(session: Session): Promise<string> {
    this.#token ??= this.#fetchToken(session).catch((error: unknown) => {
      this.#token = undefined;
      // The call that wanted the token has not been sent.
      throw neverSent(`${this.#access.shard}: authentication failed: ${describe(error)}`, error);
    });
    return this.#token;
  }

  async #fetchToken(session: Session): Promise<string> {
    const request = encodeAuthenticate(this.#access.username ?? '', this.#access.password());
    return decodeToken(await session.call(AUTHENTICATE, '', [request], this.#timeoutMs / 2));
  }

  #within<T>(deadline: number, promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const expire = () =>
        reject(neverSent(`${this.#access.shard}: no connection within ${this.#timeoutMs} ms`));
      const timer = setTimeout(expire, Math.max(0, deadline - performance.now()));
      promise.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  /** Calls under way fail as unknown. */
  close(): void {
    this.#closed = true;
    this.#session?.cut('closed');
    this.#session = undefined;
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
