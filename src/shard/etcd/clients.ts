/**
 * etcd3 with its habits under control, for everything that is not the hot path.
 *
 * - One client for each member, so that this file and not chance decides which
 *   one is asked: etcd3 shuffles its hosts, frozen ones included.
 * - Its retries and its circuit breaker are off: a repeat of a write is the
 *   caller's decision, and an open breaker would keep a healthy shard away.
 * - Every call has a deadline; etcd3 alone waits for ever.
 * - Connections are not shared with other clients of the thread (grpc-js does
 *   that by default): one error closes them for everybody.
 */
import { rootCertificates } from 'node:tls';
import { Etcd3 } from 'etcd3';
import type { IOptions } from 'etcd3';
import { LIMITS } from '../../limits.ts';
import type { Access, Endpoint } from './credentials.ts';
import { EtcdError, failureOfEtcd3, neverSent } from './failure.ts';

/** A page of a few entries of the greatest size; more than the 4 MiB that are grpc-js's default. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
/** Less than this left of a call's time: no second attempt. */
const RETRY_MS_MIN = 100;

type Policy = NonNullable<NonNullable<IOptions['faultHandling']>['global']>;

/** A policy that does nothing: no retry, no breaker. */
const PASS_THROUGH: Policy = {
  _altReturn: undefined as never,
  onSuccess: () => ({ dispose: () => undefined }),
  onFailure: () => ({ dispose: () => undefined }),
  execute: async (run, signal) => run({ signal: signal ?? NEVER_ABORTED }),
};
const NEVER_ABORTED = new AbortController().signal;

/** An etcd3 client of one member. It connects when it is first used. */
export function openClient(access: Access, endpoint: Endpoint): Etcd3 {
  return new Etcd3({
    hosts: endpoint.url,
    ...(access.tls && {
      credentials: {
        rootCertificate: access.ca ?? Buffer.from(rootCertificates.join('\n')),
        ...(access.cert && { certChain: access.cert }),
        ...(access.key && { privateKey: access.key }),
      },
    }),
    ...(access.username !== undefined && {
      auth: { username: access.username, password: access.password() },
    }),
    grpcOptions: {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.max_receive_message_length': ANSWER_BYTES_MAX,
      // etcd allows a ping every 5 s and only while a call is open.
      'grpc.keepalive_time_ms': 6_000,
      'grpc.keepalive_timeout_ms': 2_000,
    },
    faultHandling: { host: () => PASS_THROUGH, global: PASS_THROUGH },
    defaultCallOptions: (context) =>
      context.isStream ? {} : { deadline: Date.now() + LIMITS.callTimeoutMs },
  });
}

export interface CallOptions {
  readonly deadline: number;
}

export class EtcdClients {
  readonly #access: Access;
  readonly #clients: (Etcd3 | undefined)[];
  #current = 0;
  #closed = false;

  constructor(access: Access) {
    this.#access = access;
    this.#clients = access.endpoints.map(() => undefined);
  }

  /**
   * Runs `call` against the current member within LIMITS.callTimeoutMs in all.
   * What failed without having been sent, and what may be `repeatable` without
   * harm, is tried once more, at the next member. Rejects with a ShardError.
   */
  async run<T>(
    kind: 'repeatable' | 'once',
    call: (client: Etcd3, options: CallOptions) => Promise<T>,
  ): Promise<T> {
    const started = performance.now();
    const others = this.#access.endpoints.length > 1;
    const firstMs = others ? LIMITS.callTimeoutMs / 2 : LIMITS.callTimeoutMs;
    try {
      return await this.#attempt(call, firstMs);
    } catch (error) {
      const failure = failureOfEtcd3(this.#access.shard, error);
      const mayRepeat =
        kind === 'repeatable' || (failure.outcome === 'refused' && !(failure instanceof EtcdError));
      const fault = !(failure instanceof EtcdError) || failure.endpointFault;
      const leftMs = LIMITS.callTimeoutMs - (performance.now() - started);
      if (!fault || !mayRepeat || leftMs < RETRY_MS_MIN) throw failure;
      return this.#attempt(call, leftMs).catch((again: unknown) => {
        throw failureOfEtcd3(this.#access.shard, again);
      });
    }
  }

  async #attempt<T>(
    call: (client: Etcd3, options: CallOptions) => Promise<T>,
    timeoutMs: number,
  ): Promise<T> {
    const asked = this.#current;
    try {
      return await call(this.#client(asked), { deadline: Date.now() + timeoutMs });
    } catch (error) {
      const failure = failureOfEtcd3(this.#access.shard, error);
      const fault = !(failure instanceof EtcdError) || failure.endpointFault;
      if (fault && this.#current === asked) this.#current = (asked + 1) % this.#access.endpoints.length;
      throw failure;
    }
  }

  #client(member: number): Etcd3 {
    if (this.#closed) throw neverSent(`${this.#access.shard}: closed`);
    try {
      this.#clients[member] ??= openClient(this.#access, this.#access.endpoints[member]);
    } catch (error) {
      // The password file can't be read.
      throw neverSent(`${this.#access.shard}: ${(error as Error).message}`, error);
    }
    return this.#clients[member];
  }

  close(): void {
    this.#closed = true;
    for (const client of this.#clients) client?.close();
  }
}
