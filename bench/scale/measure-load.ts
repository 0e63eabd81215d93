/** Measures a system under open-model load: one load driver for each process of Holdfast, side by side. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failuresOf, mergeResults, type LoadResult } from '../../loadtest/result.ts';
import type { Owners } from '../../test/servers/owners.ts';
import { runLoadDriver } from '../children.ts';
import { CpuSampler, type ProcessCpu } from '../cpu.ts';
import type { CoresByPart, LoadPoint, LoadSample, Settings } from './point.ts';
import type { RunningSystem } from './system.ts';

/** Locks that are taken in one go while names are filled up: the driver keeps all of a go's frames in memory. */
const FILL_NAMES = 1_000_000;
const FILL_OPS_PER_FRAME = 64;

type Measurements = Omit<LoadSample, 'dimension' | 'run'>;

/** Takes `names` locks more and leaves them held. */
export async function fill(running: RunningSystem, names: number): Promise<void> {
  for (let left = names; left > 0; left -= FILL_NAMES) {
    const { result } = await runLoadDriver(
      {
        ...{ url: running.processes[0].wsUrl, workload: 'hold', names: Math.min(left, FILL_NAMES) },
        ...{ rate: FILL_OPS_PER_FRAME * 10, seconds: 0.2, warmupSeconds: 0, opsPerFrame: FILL_OPS_PER_FRAME },
      },
      new Map(),
    );
    if (failuresOf(result) > 0) throw new Error(`filling up failed: ${JSON.stringify(result.errors)}`);
  }
}

export async function measureLoad(
  running: RunningSystem,
  point: LoadPoint,
  settings: Settings,
  folder: string,
): Promise<Measurements> {
  const files = await namesFiles(running, point, folder);
  const workload = await workloadOf(point, folder);
  const before = await running.commits();
  const sampler = new CpuSampler(running.pids);
  const startedAt = performance.now();
  let result: LoadResult;
  try {
    result = await drive(running, point, settings, { files, workload });
  } finally {
    sampler.stop();
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const memory = running.memory();
  const after = await running.commits();
  const commits = after.count - before.count;
  const { offered, achieved, latency, sendLag, errors, fromWallMs, toWallMs } = result;
  const cores = coresByPart(sampler.between(fromWallMs, toWallMs), point.system.lanes);
  const { p50Ms, p95Ms, p99Ms, maxMs } = latency;
  return {
    ...{ point, offered, achieved, p50Ms, p95Ms, p99Ms, maxMs, errors, memory },
    sendLagP50Ms: sendLag.p50Ms,
    refused: Object.values(result.refusals).reduce((sum, count) => sum + count, 0) / result.answered,
    // The driver starts and drains for a while, in which next to nothing is committed.
    commitsPerSecond: commits / Math.min(seconds, settings.seconds + settings.warmupSeconds),
    commitMs: commits === 0 ? 0 : ((after.seconds - before.seconds) * 1000) / commits,
    distanceMs: running.distanceMs,
    failed: failuresOf(result),
    cores: { ...cores, load: result.cpuSeconds / result.seconds },
  };
}

async function drive(
  running: RunningSystem,
  { load }: LoadPoint,
  { seconds, warmupSeconds }: Settings,
  { files, workload }: { readonly files: readonly string[] | undefined; readonly workload: string },
): Promise<LoadResult> {
  const count = running.processes.length;
  const runs = running.processes.map(({ wsUrl }, i) =>
    runLoadDriver(
      {
        ...{ url: wsUrl, workload, rate: load.rate / count, seconds, warmupSeconds },
        ...{ opsPerFrame: load.opsPerFrame, sockets: Math.ceil(load.sockets / count) },
        names: namesEach(load, count),
        ...(files === undefined ? {} : { namesFile: files[i] }),
      },
      new Map(),
    ),
  );
  const ended = await Promise.allSettled(runs);
  const failed = ended.find((run) => run.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return mergeResults(ended.flatMap((run) => (run.status === 'fulfilled' ? [run.value.result] : [])));
}

/** A name or a file, for the driver: tries on names of which some are hot, where the point wants that. */
async function workloadOf({ load }: LoadPoint, folder: string): Promise<string> {
  if (load.zipf === undefined) return load.workload;
  const path = join(folder, `zipf-${load.zipf}.yaml`);
  const popularity = load.zipf === 0 ? 'uniform' : `{ zipf: ${load.zipf} }`;
  const lines = [
    ...['about: tries on hot names', `rate: ${load.rate}`, `names: ${load.names}`],
    ...[
      `popularity: ${popularity}`,
      'expect: [lock_held]',
      'cycle:',
      '  - acquire',
      '  - hold: 5',
      '  - release',
    ],
  ];
  await writeFile(path, `${lines.join('\n')}\n`);
  return path;
}

/** Whole frames. */
function namesEach({ names, opsPerFrame }: LoadPoint['load'], processes: number): number {
  return Math.ceil(names / processes / opsPerFrame) * opsPerFrame;
}

/** A file of names for the driver of each process, when it matters who owns them. */
async function namesFiles(
  running: RunningSystem,
  { load }: LoadPoint,
  folder: string,
): Promise<string[] | undefined> {
  const { processes } = running;
  if (load.owner === 'any' || processes.length === 1) return undefined;
  const addresses = processes.map(({ address }) => address);
  const lists = namesByOwner(
    await running.owners(),
    addresses,
    load.owner,
    namesEach(load, processes.length),
  );
  const files = lists.map((_, i) => join(folder, `names-${i}.txt`));
  for (const [i, list] of lists.entries()) await writeFile(files[i], `${list.join('\n')}\n`);
  return files;
}

function namesByOwner(
  owners: Owners,
  addresses: readonly string[],
  owner: 'own' | 'others',
  wanted: number,
): string[][] {
  const lists = addresses.map((): string[] => []);
  const run = Math.random().toString(36).slice(2, 8).padEnd(6, '0');
  for (let i = 0; lists.some((list) => list.length < wanted); i++) {
    const name = `scale-${run}-${String(i).padStart(8, '0')}`;
    const owning = addresses.indexOf(owners.addressOf(name));
    if (owning < 0) throw new Error('a slot has no owner among the processes that were started');
    // A name of one process is forwarded by each of the others in turn.
    const asked = owner === 'own' ? owning : (owning + 1 + (i % (addresses.length - 1))) % addresses.length;
    if (lists[asked].length < wanted) lists[asked].push(name);
  }
  return lists;
}

/** @param lanes of each process: its busiest threads beside the main one */
export function coresByPart(cpu: ReadonlyMap<string, ProcessCpu>, lanes: number): CoresByPart {
  const cores = { front: 0, lanes: 0, other: 0, etcd: 0, relay: 0, load: 0 };
  for (const [label, { total, main, others }] of cpu) {
    if (label.startsWith('etcd')) cores.etcd += total;
    else if (label.startsWith('load')) cores.load += total;
    else if (label.startsWith('relay')) cores.relay += total;
    else {
      const busiest = others.slice(0, lanes).reduce((sum, used) => sum + used, 0);
      cores.front += main;
      cores.lanes += busiest;
      cores.other += total - main - busiest;
    }
  }
  return cores;
}
