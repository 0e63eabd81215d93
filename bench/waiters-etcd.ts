/**
 * etcd's own lock service (v3lockpb) in `npm run bench:waiters`: one Lock call
 * a client over one HTTP/2 connection, as its Go client makes them.
 *
 *   LockRequest   { name=1 lease=2 }     LockResponse { header=1 key=2 }
 *   UnlockRequest { key=1 }
 */
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { Etcd3 } from 'etcd3';
import { fieldBytes, varintBytes, WireReader, WireWriter } from '../src/shard/etcd/wire.ts';
import { hold, type Party, type Turn } from './turns.ts';

const GRPC_PREFIX_BYTES = 5;
const NAME = 'the-one-lock';
const LEASE_SECONDS = 600;
const encoder = new TextEncoder();

export class EtcdLockParty implements Party {
  readonly name = "etcd's lock service";
  readonly durability = 'yes (etcd, fsync)';
  readonly #session: ClientHttp2Session;
  readonly #etcd: Etcd3;

  constructor(endpoint: string) {
    this.#session = connect(endpoint);
    this.#etcd = new Etcd3({ hosts: endpoint });
  }

  async run(clients: number, holdMs: number): Promise<readonly Turn[]> {
    const first = await this.#lock(await this.#newLease());
    const turns: Promise<Turn>[] = [];
    for (let i = 0; i < clients; i++) {
      const place = i + 1;
      const locked = this.#lock(await this.#newLease());
      turns.push(locked.then((key) => this.#turn(key, place, holdMs)));
      await this.#waiters(i + 2);
    }
    await this.#unlock(first);
    return Promise.all(turns);
  }

  async stop(): Promise<void> {
    this.#session.close();
    this.#etcd.close();
  }

  /** A lease for each client: two calls with one lease would be the same waiter. */
  async #newLease(): Promise<number> {
    const id = Math.floor(Math.random() * 2 ** 40) + 1;
    await this.#etcd.leaseClient.leaseGrant({ ID: String(id), TTL: LEASE_SECONDS });
    return id;
  }

  /** Until so many stand in the queue, the holder included. */
  async #waiters(count: number): Promise<void> {
    while (Number(await this.#etcd.getAll().prefix(`${NAME}/`).count()) < count);
  }

  async #turn(key: Uint8Array, place: number, holdMs: number): Promise<Turn> {
    const grantedAt = performance.now();
    await hold(holdMs);
    const releasedAt = performance.now();
    await this.#unlock(key);
    return { place, grantedAt, releasedAt };
  }

  async #lock(lease: number): Promise<Uint8Array> {
    const name = encoder.encode(NAME);
    const request = framed(fieldBytes(name.length) + 1 + varintBytes(lease));
    request.field(0x0a, name);
    request.number(0x10, lease);
    const answer = new WireReader(await this.#call('/v3lockpb.Lock/Lock', request.bytes));
    while (answer.next()) {
      const { at, end } = answer.span();
      if (answer.number === 2) return answer.bytes.slice(at, end);
    }
    throw new Error('a lock without a key');
  }

  async #unlock(key: Uint8Array): Promise<void> {
    const request = framed(fieldBytes(key.length));
    request.field(0x0a, key);
    await this.#call('/v3lockpb.Lock/Unlock', request.bytes);
  }

  /** One unary call without a deadline; the answer without its prefix. */
  #call(path: string, request: Uint8Array): Promise<Uint8Array> {
    const stream = this.#session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.end(request);
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let status = '';
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('response', (headers) => (status = String(headers['grpc-status'] ?? status)));
      stream.on('trailers', (headers) => (status = String(headers['grpc-status'] ?? status)));
      stream.on('error', reject);
      stream.on('end', () => {
        if (status === '0') resolve(Buffer.concat(chunks).subarray(GRPC_PREFIX_BYTES));
        else reject(new Error(`${path} ended with ${status}`));
      });
    });
  }
}

function framed(messageBytes: number): WireWriter {
  const bytes = new Uint8Array(GRPC_PREFIX_BYTES + messageBytes);
  new DataView(bytes.buffer).setUint32(1, messageBytes);
  return new WireWriter(bytes, GRPC_PREFIX_BYTES);
}
