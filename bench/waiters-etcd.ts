/** etcd's own lock service in `npm run bench:waiters`: one Lock call a client over one HTTP/2 connection. */
import { Etcd3 } from 'etcd3';
import { etcdLease, etcdLock, etcdUnlock } from './etcd-lock.ts';
import { GrpcConnection } from './grpc.ts';
import { hold, type Party, type Turn } from './turns.ts';

const NAME = 'the-one-lock';
const LEASE_SECONDS = 600;

export class EtcdLockParty implements Party {
  readonly name = "etcd's lock service";
  readonly durability = 'yes (etcd, fsync)';
  readonly #connection: GrpcConnection;
  readonly #etcd: Etcd3;

  constructor(endpoint: string) {
    this.#connection = new GrpcConnection(endpoint);
    this.#etcd = new Etcd3({ hosts: endpoint });
  }

  async run(clients: number, holdMs: number): Promise<readonly Turn[]> {
    const first = await this.#lock();
    const turns: Promise<Turn>[] = [];
    for (let i = 0; i < clients; i++) {
      const place = i + 1;
      const lease = await etcdLease(this.#etcd, LEASE_SECONDS);
      const locked = etcdLock(this.#connection, NAME, lease);
      turns.push(locked.then((key) => this.#turn(key, place, holdMs)));
      await this.#waiters(i + 2);
    }
    await etcdUnlock(this.#connection, first);
    return Promise.all(turns);
  }

  async stop(): Promise<void> {
    this.#connection.close();
    this.#etcd.close();
  }

  async #lock(): Promise<Uint8Array> {
    return etcdLock(this.#connection, NAME, await etcdLease(this.#etcd, LEASE_SECONDS));
  }

  /** Until so many stand in the queue, the holder included. */
  async #waiters(count: number): Promise<void> {
    while (Number(await this.#etcd.getAll().prefix(`${NAME}/`).count()) < count);
  }

  async #turn(key: Uint8Array, place: number, holdMs: number): Promise<Turn> {
    const grantedAt = performance.now();
    await hold(holdMs);
    const releasedAt = performance.now();
    await etcdUnlock(this.#connection, key);
    return { place, grantedAt, releasedAt };
  }
}
