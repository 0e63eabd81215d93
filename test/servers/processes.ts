/**
 * Several real processes on the same shards, each with a port and a folder of
 * its own that it keeps from one start to the next.
 *
 *   place: down ─ start ─► up ─ kill (SIGKILL), stop (SIGTERM) ─► down
 *                            └─ freeze (SIGSTOP) ─► frozen ─ wake (SIGCONT) ─► up
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePorts } from '../../src/cli/etcd-server.ts';
import { LIMITS } from '../../src/limits.ts';
import { pause, spawnHoldfast, type Ended, type HoldfastServer, type ServerOptions } from './holdfast.ts';

const ALL_OWN_MS = 30_000;
const LOOK_AGAIN_MS = 300;

export interface ProcessesOptions extends Pick<ServerOptions, 'args' | 'env' | 'nodeArgs'> {
  readonly count: number;
  /** Endpoints of each shard. */
  readonly etcd: readonly (readonly string[])[];
  /** Each process gets a folder in it. */
  readonly folder: string;
}

/** One process's place: what stays when it is started again. */
export class Place {
  readonly name: string;
  readonly port: number;
  readonly #options: ServerOptions;
  /** The last one that was started. */
  server!: HoldfastServer;

  constructor(name: string, port: number, options: ServerOptions) {
    this.name = name;
    this.port = port;
    this.#options = options;
  }

  get folder(): string {
    return this.#options.folder;
  }

  /** As its terms in etcd give it. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get wsUrl(): string {
    return `ws://127.0.0.1:${this.port}/v1/ws`;
  }

  /** Resolves once it listens. */
  async start(): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true });
    this.server = await spawnHoldfast({ ...this.#options, port: this.port });
    await this.server.listening();
  }

  kill(): Promise<void> {
    return this.server.kill();
  }

  stop(): Promise<Ended> {
    return this.server.stop();
  }

  freeze(): void {
    this.server.signal('SIGSTOP');
  }

  wake(): void {
    this.server.signal('SIGCONT');
  }

  /** By its own metrics; 0 when it does not answer. */
  async slotsOwned(): Promise<number> {
    const answer = await fetch(`${this.url}/metrics`, { signal: AbortSignal.timeout(2_000) }).catch(() => {});
    const text = (await answer?.text().catch(() => '')) ?? '';
    const counts = [...text.matchAll(/^holdfast_slots_owned\{.*\} (\d+)$/gm)];
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  }
}

export class Processes {
  readonly places: readonly Place[];

  private constructor(places: readonly Place[]) {
    this.places = places;
  }

  /** Starts all of them; resolves once every one owns its part of the slots. */
  static async start(options: ProcessesOptions): Promise<Processes> {
    const { count, folder, etcd, args, env, nodeArgs } = options;
    const ports = await freePorts(count);
    const places = ports.map((port, i) => {
      const own = { etcd, folder: join(folder, `p${i}`) };
      return new Place(`p${i}`, port, {
        ...own,
        ...(args && { args }),
        ...(env && { env }),
        ...(nodeArgs && { nodeArgs }),
      });
    });
    const processes = new Processes(places);
    try {
      // The first one alone: on new shards it is the one that makes their records.
      await places[0].start();
      await Promise.all(places.slice(1).map((place) => place.start()));
      await processes.settled();
    } catch (error) {
      await processes.kill();
      throw error;
    }
    return processes;
  }

  /** Resolves once the processes own all slots between them, none of them much less than its part, and nothing moves. */
  async settled(slots = LIMITS.slots): Promise<void> {
    const least = slots / this.places.length / 2;
    const until = performance.now() + ALL_OWN_MS;
    let owned: number[] = [];
    for (let before = ''; performance.now() < until; before = owned.join()) {
      await pause(LOOK_AGAIN_MS);
      owned = await Promise.all(this.places.map((place) => place.slotsOwned()));
      const all = owned.reduce((sum, count) => sum + count, 0);
      if (all === slots && Math.min(...owned) >= least && owned.join() === before) return;
    }
    const outputs = this.places.map(({ name, server }) => `${name}: ${server.output.slice(-2_000)}`);
    throw new Error(`slots owned by each process: ${owned.join(', ')}\n${outputs.join('\n')}`);
  }

  async kill(): Promise<void> {
    await Promise.all(this.places.map((place) => place.server?.kill()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.places.map((place) => place.server?.stop()));
  }
}
