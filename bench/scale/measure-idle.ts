/** Measures a system of which nothing is asked: processor time by thread, and memory, with and without open sockets. */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { killAtExit } from '../../src/cli/children.ts';
import { pause } from '../../test/servers/holdfast.ts';
import { residentBytes } from '../cpu.ts';
import type { IdlePoint, IdleSample, Settings } from './point.ts';
import type { RunningSystem } from './system.ts';
import { Threads, type ThreadUse } from './threads.ts';

/** Until what its start left to do is done. */
const SETTLE_MS = 5_000;
/** Nothing happens in a short time; a longer one is needed than under load. */
const SECONDS_MIN = 20;

export async function measureIdle(
  running: RunningSystem,
  point: IdlePoint,
  settings: Settings,
): Promise<Omit<IdleSample, 'dimension' | 'run'>> {
  const [{ pid, wsUrl }] = running.processes;
  const before = residentBytes(pid);
  const client = point.sockets === 0 ? undefined : await openSockets(wsUrl, point.sockets);
  try {
    await pause(SETTLE_MS);
    const threads = new Threads(pid);
    const etcd = [...running.pids]
      .filter(([label]) => label.startsWith('etcd'))
      .map(([, member]) => new Threads(member));
    await pause(1000 * (settings.isQuick ? settings.seconds : Math.max(SECONDS_MIN, settings.seconds)));
    if (client !== undefined && client.exitCode !== null) throw new Error('idle sockets were closed');
    const used = threads.use();
    return {
      ...{ point, before, threads: used, memory: running.memory() },
      cores: {
        front: coresOf(used.filter(({ name }) => name === 'main')),
        lanes: 0,
        other: coresOf(used.filter(({ name }) => name !== 'main')),
        etcd: etcd.reduce((sum, member) => sum + coresOf(member.use()), 0),
        load: 0,
        relay: 0,
      },
    };
  } finally {
    client?.kill('SIGKILL');
  }
}

function coresOf(threads: readonly ThreadUse[]): number {
  return threads.reduce((sum, { cores }) => sum + cores, 0);
}

function openSockets(url: string, count: number): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('./idle-sockets.js', import.meta.url));
  const child = fork(program, [JSON.stringify({ url, count })]);
  killAtExit(child);
  return new Promise((resolve, reject) => {
    child.once('message', () => resolve(child));
    child.once('exit', (code) => reject(new Error(`the client of the idle sockets ended with ${code}`)));
  });
}
