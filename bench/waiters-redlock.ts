/**
 * redlock in `npm run bench:waiters`: its clients poll, with its own default of
 * 200 ms and as much jitter. One Redis that writes to disk before it answers:
 * with three or five of them each hand-off would cost more.
 */
import { Redis } from 'ioredis';
import Redlock from 'redlock';
import { startRedis, type RedisServer } from './redis.ts';
import { hold, type Party, type Turn } from './turns.ts';

const NAME = 'the-one-lock';
const TTL_MS = 30_000;

export class RedlockParty implements Party {
  readonly name = 'redlock, polling';
  readonly durability = 'yes (appendfsync always)';
  readonly #server: RedisServer;
  readonly #redis: Redis;

  private constructor(server: RedisServer) {
    this.#server = server;
    this.#redis = new Redis({ port: server.port, host: '127.0.0.1' });
  }

  static async start(folder: string): Promise<RedlockParty> {
    return new RedlockParty(await startRedis(folder, 'always'));
  }

  async run(clients: number, holdMs: number): Promise<readonly Turn[]> {
    const locks = new Redlock([this.#redis], { retryCount: -1, automaticExtensionThreshold: 0 });
    locks.on('error', () => {});
    const first = await locks.acquire([NAME], TTL_MS);
    const turns = Array.from({ length: clients }, async (_, i): Promise<Turn> => {
      const lock = await locks.acquire([NAME], TTL_MS);
      const grantedAt = performance.now();
      await hold(holdMs);
      const releasedAt = performance.now();
      await lock.release();
      return { place: i + 1, grantedAt, releasedAt };
    });
    await first.release();
    return Promise.all(turns);
  }

  async stop(): Promise<void> {
    this.#redis.disconnect();
    await this.#server.stop();
  }
}
