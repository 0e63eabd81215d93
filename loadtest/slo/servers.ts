/**
 * What is measured: one real etcd with fsync for the whole run of the gate, and
 * a fresh Holdfast, as users start it, for every single run.
 */
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { folderBytes } from '../../bench/children.ts';
import { peakResidentBytes, residentBytes } from '../../bench/cpu.ts';
import { scrapeSum } from '../../bench/scrape.ts';
import { startEtcd, type EtcdCluster } from '../../src/cli/etcd-server.ts';
import { startHoldfast, type HoldfastServer } from '../../test/servers/holdfast.ts';
import type { Counters, Footprint } from './records.ts';

export class Servers {
  readonly folder: string;
  readonly #etcd: EtcdCluster;
  readonly #nodeArgs: readonly string[];
  #started = 0;

  private constructor(folder: string, etcd: EtcdCluster, nodeArgs: readonly string[]) {
    this.folder = folder;
    this.#etcd = etcd;
    this.#nodeArgs = nodeArgs;
  }

  static async start(nodeArgs: readonly string[], say: (line: string) => void): Promise<Servers> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-slo-'));
    // Also when this process is ended at once.
    process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
    const etcd = await startEtcd({ dataFolder: join(folder, 'etcd'), ownGroup: true, say });
    say(`etcd ${etcd.binary.version}, fsync on, its data in ${folder}`);
    return new Servers(folder, etcd, nodeArgs);
  }

  get etcdVersion(): string {
    return this.#etcd.binary.version;
  }

  get endpoints(): readonly string[] {
    return this.#etcd.endpoints;
  }

  get etcdPid(): number {
    const { pid } = this.#etcd.members[0];
    if (pid === undefined) throw new Error('etcd has ended');
    return pid;
  }

  /** Throws when one of the two has ended, with its last words. */
  checkAlive(holdfast: HoldfastServer): void {
    if (this.#etcd.members[0].pid === undefined) throw new Error('etcd ended during the run');
    if (holdfast.isRunning) return;
    const words = holdfast.output.trim().split('\n').slice(-3).join(' · ');
    throw new Error(`Holdfast ended during the run${words === '' ? '' : `: ${words}`}`);
  }

  /** A member that died is started again, so that one bad run does not end all that follow. */
  async mend(): Promise<void> {
    await this.#etcd.members[0].start();
  }

  /** @param workers lanes, instead of as many as it takes by itself */
  async startHoldfast(workers?: number): Promise<HoldfastServer> {
    const folder = join(this.folder, `holdfast-${++this.#started}`);
    await mkdir(folder);
    const env = workers === undefined ? {} : { HOLDFAST_WORKERS: String(workers) };
    return startHoldfast({ folder, etcd: [this.endpoints], nodeArgs: this.#nodeArgs, env });
  }

  footprint(holdfast?: HoldfastServer): Footprint {
    const member = join(this.folder, 'etcd', 'm0', 'data', 'member');
    return {
      databaseBytes: folderBytes(join(member, 'snap')),
      logBytes: folderBytes(join(member, 'wal')),
      etcdMemoryBytes: residentBytes(this.etcdPid),
      ...(holdfast === undefined ? {} : { holdfastMemoryBytes: peakResidentBytes(holdfast.pid) }),
    };
  }

  /** Counts from now on; call the result when the run is over. */
  async countersFromNow(holdfast: HoldfastServer): Promise<() => Promise<Counters>> {
    const from = await this.#counts(holdfast);
    const fromMs = performance.now();
    return async () => {
      const to = await this.#counts(holdfast);
      const grown = (name: keyof typeof to): number => to[name] - from[name];
      return {
        commitsPerSecond: grown('commits') / ((performance.now() - fromMs) / 1000),
        fsyncMs: (1000 * grown('fsyncSeconds')) / Math.max(1, grown('fsyncs')),
        collections: grown('collections'),
        collectionMs: 1000 * grown('collectionSeconds'),
      };
    };
  }

  async #counts(holdfast: HoldfastServer) {
    const [etcd, own] = [this.endpoints[0], holdfast.url];
    const fsync = 'etcd_disk_wal_fsync_duration_seconds';
    const collection = 'nodejs_gc_duration_seconds';
    return {
      commits: await scrapeSum(own, 'holdfast_commit_duration_seconds_count'),
      fsyncs: await scrapeSum(etcd, `${fsync}_count`),
      fsyncSeconds: await scrapeSum(etcd, `${fsync}_sum`),
      collections: await scrapeSum(own, `${collection}_count`),
      collectionSeconds: await scrapeSum(own, `${collection}_sum`),
    };
  }

  async stop(): Promise<void> {
    await this.#etcd.stop();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
