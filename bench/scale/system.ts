/**
 * Holdfast as a point wants it: real etcd members with fsync, or the embedded
 * store, and real processes on them. Everything ends with stop(), and with
 * this process.
 */
import { join } from 'node:path';
import { LIMITS } from '../../src/limits.ts';
import { startEtcd } from '../../src/cli/etcd-server.ts';
import { Owners } from '../../test/servers/owners.ts';
import { Processes } from '../../test/servers/processes.ts';
import { startHoldfast, type HoldfastServer } from '../../test/servers/holdfast.ts';
import { residentBytes } from '../cpu.ts';
import { scrapeSum } from '../scrape.ts';
import { startFarEtcd } from './far-etcd.ts';
import type { Memory, System } from './point.ts';

/** One process of Holdfast that runs. */
export interface Running {
  /** HOST:PORT, as its terms give it. */
  readonly address: string;
  readonly url: string;
  readonly wsUrl: string;
  readonly pid: number;
}

interface Etcd {
  readonly endpoints: readonly string[];
  readonly pid: number;
  readonly relayPid: number | undefined;
  readonly distanceMs: number;
  stop(): Promise<void>;
}

export class RunningSystem {
  readonly system: System;
  readonly processes: readonly Running[];
  readonly #etcd: readonly Etcd[];
  readonly #stopProcesses: () => Promise<unknown>;

  private constructor(
    system: System,
    etcd: readonly Etcd[],
    processes: readonly Running[],
    stopProcesses: () => Promise<unknown>,
  ) {
    this.system = system;
    this.#etcd = etcd;
    this.processes = processes;
    this.#stopProcesses = stopProcesses;
  }

  /** @param folder for all its data; it must not be there yet */
  static async start(system: System, folder: string): Promise<RunningSystem> {
    const etcd: Etcd[] = [];
    try {
      for (let i = 0; system.store === 'etcd' && i < system.shards; i++) {
        etcd.push(await startShard(join(folder, `etcd-s${i}`), system));
      }
      const { processes, stop } = await startProcesses(system, etcd, folder);
      return new RunningSystem(system, etcd, processes, stop);
    } catch (error) {
      for (const shard of etcd) await shard.stop();
      throw error;
    }
  }

  get etcdEndpoints(): (readonly string[])[] {
    return this.#etcd.map(({ endpoints }) => endpoints);
  }

  /** Mean over the shards, as measured. */
  get distanceMs(): number {
    return this.#etcd.reduce((sum, { distanceMs }) => sum + distanceMs, 0) / Math.max(1, this.#etcd.length);
  }

  /** By label: «holdfast …», «etcd …», «relay …». */
  get pids(): Map<string, number> {
    const pids = new Map(this.processes.map(({ pid }, i): [string, number] => [`holdfast p${i}`, pid]));
    for (const [i, { pid, relayPid }] of this.#etcd.entries()) {
      pids.set(`etcd s${i}`, pid);
      if (relayPid !== undefined) pids.set(`relay s${i}`, relayPid);
    }
    return pids;
  }

  memory(): Memory {
    const all = (pids: readonly number[]): number => pids.reduce((sum, pid) => sum + residentBytes(pid), 0);
    return {
      holdfast: all(this.processes.map(({ pid }) => pid)),
      etcd: all(this.#etcd.map(({ pid }) => pid)),
    };
  }

  /** Of all processes and shards, since each started. */
  async commits(): Promise<{ count: number; seconds: number }> {
    let count = 0;
    let seconds = 0;
    for (const { url } of this.processes) {
      count += await scrapeSum(url, 'holdfast_commit_duration_seconds_count');
      seconds += await scrapeSum(url, 'holdfast_commit_duration_seconds_sum');
    }
    return { count, seconds };
  }

  owners(): Promise<Owners> {
    return Owners.read(this.etcdEndpoints);
  }

  async stop(): Promise<void> {
    await this.#stopProcesses();
    for (const shard of this.#etcd) await shard.stop();
  }
}

async function startShard(folder: string, { distanceMs, etcd = {} }: System): Promise<Etcd> {
  if (distanceMs > 0) return startFarEtcd(folder, distanceMs);
  const cluster = await startEtcd({
    dataFolder: folder,
    settings: etcd.settings ?? [],
    env: etcd.gogc === undefined ? {} : { GOGC: String(etcd.gogc) },
  });
  return {
    endpoints: cluster.endpoints,
    pid: cluster.members[0].pid!,
    relayPid: undefined,
    distanceMs: 0,
    stop: () => cluster.stop(),
  };
}

async function startProcesses(
  system: System,
  shards: readonly Etcd[],
  folder: string,
): Promise<{ processes: Running[]; stop: () => Promise<unknown> }> {
  const args = ['--workers', String(system.lanes)];
  const etcd = shards.map(({ endpoints }) => endpoints);
  if (system.processes > 1) {
    const group = await Processes.start({ count: system.processes, etcd, folder, args });
    const processes = group.places.map(({ address, url, wsUrl, server }) => {
      return { address, url, wsUrl, pid: server.pid };
    });
    return { processes, stop: () => group.stop() };
  }
  const server: HoldfastServer = await startHoldfast({
    folder,
    args,
    ...(system.store === 'etcd' ? { etcd } : {}),
  });
  const { url, wsUrl, pid, port } = server;
  return { processes: [{ address: `127.0.0.1:${port}`, url, wsUrl, pid }], stop: () => server.stop() };
}

/** Slots whose owner changed since `before`: own names and those of others are then mixed. */
export function slotsMoved(before: Owners, after: Owners): number {
  return Math.min(LIMITS.slots, before.moved(after));
}
