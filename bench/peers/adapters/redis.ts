/** The Redis servers of the redlock and pipeline rows. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startRedis, type RedisServer } from '../../redis.ts';
import { Unavailable, type Standing } from '../peer.ts';

export type Appendfsync = 'always' | 'everysec';

export interface RedisTarget {
  readonly ports: readonly number[];
}

/** So many Redis that know nothing of each other, as redlock wants them. */
export async function startRedises(
  folder: string,
  count: number,
  appendfsync: Appendfsync,
): Promise<Standing> {
  const servers: RedisServer[] = [];
  const stop = async (): Promise<void> => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    for (let i = 0; i < count; i++) {
      const own = join(folder, `r${i}`);
      await mkdir(own);
      servers.push(await startRedis(own, appendfsync));
    }
  } catch (error) {
    await stop();
    throw new Unavailable((error as Error).message, error);
  }
  const pids = new Map(servers.map((server, i) => [count === 1 ? 'redis' : `redis ${i}`, server.pid]));
  const target: RedisTarget = { ports: servers.map(({ port }) => port) };
  return { pids, target, stop };
}

export const DURABLE: Readonly<Record<Appendfsync, string>> = {
  always: 'yes: appendfsync always',
  everysec: 'no: appendfsync everysec, up to a second is lost',
};
