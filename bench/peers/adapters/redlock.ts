/** The npm package redlock over ioredis: on one Redis, and on five, as the algorithm is meant. */
import { Redis } from 'ioredis';
import Redlock, { type Lock } from 'redlock';
import type { LockClient, Peer, Shape } from '../peer.ts';
import { DURABLE, startRedises, type Appendfsync, type RedisTarget } from './redis.ts';

const TTL_MS = 30_000;

function redlock(nodes: number, appendfsync: Appendfsync): Peer {
  return {
    key: `redlock${nodes === 1 ? '' : `-${nodes}`}-${appendfsync}`,
    name: `redlock, ${nodes === 1 ? 'one Redis' : `${nodes} Redis`}, ${appendfsync}`,
    how: 'redlock 5 over ioredis, one connection a Redis',
    durable: DURABLE[appendfsync],
    fencing: 'no',
    nodeLoss: nodes === 1 ? 'no: only with five Redis' : 'a minority of them, if clocks behave',
    expiry: 'TTL of each lock',
    client: 'redlock',
    locksPerBlock: 1,
    concurrencies: [1, 8, 64, 256],
    target: 20,
    start: (folder) => startRedises(folder, nodes, appendfsync),
  };
}

export const REDLOCK: readonly Peer[] = [redlock(1, 'always'), redlock(1, 'everysec'), redlock(5, 'always')];

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const clients = (target as RedisTarget).ports.map((port) => new Redis({ port, host: '127.0.0.1' }));
  const locks = new Redlock(clients, { retryCount: 0, automaticExtensionThreshold: 0 });
  locks.on('error', () => {});
  const held = new Map<number, Lock>();
  return {
    async acquire(block) {
      held.set(block, await locks.acquire([shape.nameOf(block)], TTL_MS));
    },
    async release(block) {
      await held.get(block)!.release();
      held.delete(block);
    },
    async close() {
      for (const client of clients) client.disconnect();
    },
  };
}
