/** A real redis-server for benchmarks: from PATH, else from Debian's package; on a free port, its data in a folder, ended by pid. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { freePorts } from '../src/cli/etcd-server.ts';
import { killAtExit } from '../src/cli/children.ts';
import { command, sayOnStderr, works } from '../src/cli/provide.ts';

const PROGRAM = 'redis-server';

export interface RedisServer {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

/** @param appendfsync `always`: on disk before it answers; `everysec`: not */
export async function startRedis(folder: string, appendfsync: 'always' | 'everysec'): Promise<RedisServer> {
  await provideRedis();
  const [port] = await freePorts(1);
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''];
  const child = spawn(PROGRAM, [...settings, '--appendonly', 'yes', '--appendfsync', appendfsync], {
    stdio: 'ignore',
  });
  killAtExit(child);
  await answering(port, child);
  return {
    port,
    pid: child.pid!,
    async stop() {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

async function provideRedis(): Promise<void> {
  if (await works(PROGRAM, ['--version'])) return;
  sayOnStderr('installing the package redis-server');
  const failed =
    (await command('apt-get', ['update'])) ?? (await command('apt-get', ['install', '-y', PROGRAM]));
  if (failed !== undefined) throw new Error(`no redis-server could be had: ${failed}`);
}

async function answering(port: number, child: ChildProcess): Promise<void> {
  const redis = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 20, maxRetriesPerRequest: null });
  redis.on('error', () => {});
  const died = once(child, 'exit').then(() => Promise.reject(new Error('redis-server ended while starting')));
  await Promise.race([redis.ping(), died]);
  died.catch(() => {});
  redis.disconnect();
}
