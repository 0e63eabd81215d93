/**
 * A whole cluster in one thread: model stores, machines that run processes, and
 * the network between them and the clients.
 */
import { openCluster } from '../../src/slots/birth.ts';
import { parseHashKey, type HashKey } from '../../src/slots/hash.ts';
import type { Transport } from './client.ts';
import { refusal, type Reply, type Request } from './front.ts';
import type { Rule, Violation } from './history.ts';
import { CALM, ModelConnection, type NetworkFaults } from './model-connection.ts';
import { ModelStore } from './model-store.ts';
import { SimProcess } from './process.ts';
import type { Random } from './random.ts';
import { Domain, type Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

/** Between clients and processes. Probabilities are per frame; times in ms. */
export interface ClientNetwork {
  readonly delayMs: number;
  readonly loseRequest: number;
  readonly loseReply: number;
  readonly duplicate: number;
  readonly late: number;
  readonly lateMsMax: number;
  /** The client asks a process that need not own the slot. */
  readonly astray: number;
}

export const CALM_CLIENTS: ClientNetwork = {
  delayMs: 0.3,
  loseRequest: 0,
  loseReply: 0,
  duplicate: 0,
  late: 0,
  lateMsMax: 0,
  astray: 0,
};

export interface ClusterOptions {
  readonly shards: number;
  readonly machines: number;
  readonly lanes: number;
  readonly slots: number;
  readonly requestTimeoutMs: number;
  readonly storeFaults: NetworkFaults;
  readonly clientNetwork: ClientNetwork;
}

export class Cluster {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly options: ClusterOptions;
  readonly stores: ModelStore[] = [];
  /** By machine: the process that runs there. */
  readonly machines: (SimProcess | undefined)[] = [];
  readonly violations: Violation[] = [];
  storeFaults: NetworkFaults;
  clientNetwork: ClientNetwork;
  #hashKey: HashKey = { k0: 0, k1: 0 };
  #incarnations = 0;

  constructor(scheduler: Scheduler, random: Random, options: ClusterOptions) {
    this.scheduler = scheduler;
    this.random = random;
    this.options = options;
    this.storeFaults = options.storeFaults;
    this.clientNetwork = options.clientNetwork;
    for (let shard = 0; shard < options.shards; shard++) {
      this.stores.push(new ModelStore(scheduler, random.fork(`s${shard}`), `s${shard}`));
    }
  }

  /** Creates the cluster's records, without faults, and starts a process on each machine. */
  async begin(): Promise<void> {
    const domain = new Domain('birth');
    const host = {
      domain,
      clock: new SimClock(this.scheduler, this.random.fork('birth clock'), 1).for(domain),
    };
    const connections = this.stores.map((store) => {
      return new ModelConnection(
        this.scheduler,
        this.random.fork(`birth ${store.name}`),
        store,
        'birth',
        host,
        CALM,
      );
    });
    const random = this.random.fork('birth');
    const shards = this.stores.map(({ name }) => ({
      name,
      engine: 'etcd' as const,
      endpoints: [],
      weight: 1,
    }));
    let hashKey: string | undefined;
    const opened = openCluster(connections, { slots: this.options.slots, shards }, (bytes) =>
      random.hex(bytes),
    );
    opened.then(
      (record) => (hashKey = record.hashKey),
      (error: unknown) => this.violate('defect', `the cluster was not born: ${String(error)}`),
    );
    await this.scheduler.run(this.scheduler.now + 1_000);
    if (hashKey === undefined) throw new Error('the cluster was not born');
    this.#hashKey = parseHashKey(hashKey);
    for (let machine = 0; machine < this.options.machines; machine++) this.start(machine);
  }

  violate(rule: Rule, text: string): void {
    const at = this.scheduler.now.toFixed(1);
    this.scheduler.note(`VIOLATION ${rule}: ${text}`);
    this.violations.push({ rule, text: `${at}: ${text}` });
  }

  start(machine: number): void {
    const id = `p${machine}.${++this.#incarnations}`;
    this.scheduler.note(`start ${id}`);
    this.machines[machine] = new SimProcess(this.scheduler, this.random.fork(id), {
      id,
      lanes: this.options.lanes,
      stores: this.stores,
      slots: this.options.slots,
      hashKey: this.#hashKey,
      faults: this.storeFaults,
      requestTimeoutMs: this.options.requestTimeoutMs,
      complain: (text) =>
        this.violate(/answer|bounced|stopped with/.test(text) ? 'answered' : 'defect', text),
    });
  }

  kill(machine: number): void {
    const process = this.machines[machine];
    if (process === undefined) return;
    this.scheduler.note(`kill ${process.id}`);
    this.#collectMisuses(process);
    process.kill();
    this.machines[machine] = undefined;
  }

  /** SIGTERM; `done` when the process is gone. */
  stop(machine: number, done: () => void): void {
    const process = this.machines[machine];
    if (process === undefined || process.state !== 'serving') return;
    this.scheduler.note(`stop ${process.id}`);
    process.stop(() => {
      this.#collectMisuses(process);
      if (this.machines[machine] === process) this.machines[machine] = undefined;
      done();
    });
  }

  get processes(): SimProcess[] {
    return this.machines.filter((process) => process !== undefined);
  }

  /** All connections of all living processes. */
  get connections(): ModelConnection[] {
    return this.processes.flatMap((process) => process.connections);
  }

  setStoreFaults(faults: NetworkFaults): void {
    this.storeFaults = faults;
    for (const connection of this.connections) connection.faults = faults;
  }

  /** Every fault that lasts ends: stores are up and have room, nobody is cut off, all that runs goes on. */
  heal(): void {
    for (const store of this.stores) {
      store.down = false;
      store.full = false;
    }
    this.setStoreFaults({ ...CALM });
    this.clientNetwork = CALM_CLIENTS;
    for (const process of this.processes) {
      process.clock.go();
      for (const domain of [process.domain, ...process.domain.children]) process.resume(domain);
      for (const connection of process.connections) connection.heal();
    }
  }

  finish(): void {
    for (const process of this.processes) this.#collectMisuses(process);
  }

  /** The way of `client`'s frames to the cluster. */
  transport(client: string): Transport {
    const random = this.random.fork(`network of ${client}`);
    return {
      send: (requests, reply) => {
        const ways = requests.map(() => ({ frame: 0, copies: 0 }));
        const frames = new Map<number, number[]>();
        for (const [index, { name }] of requests.entries()) {
          const machine = this.#pick(random, name);
          const frame = frames.get(machine);
          if (frame === undefined) frames.set(machine, [index]);
          else frame.push(index);
        }
        for (const [machine, indexes] of frames) {
          const frame = indexes.map((index) => requests[index]);
          const told = (at: number, answer: Reply) => reply(indexes[at], answer);
          const duplicated = this.#sendFrame(random, client, machine, frame, told);
          for (const index of indexes) ways[index] = { frame: machine, copies: duplicated ? 1 : 0 };
        }
        return ways;
      },
    };
  }

  /** True when the network makes a second copy of the frame. */
  #sendFrame(
    random: Random,
    client: string,
    machine: number,
    frame: readonly Request[],
    reply: (index: number, reply: Reply) => void,
  ): boolean {
    const network = this.clientNetwork;
    const late = random.chance(network.late) ? random.between(0, network.lateMsMax) : 0;
    if (!random.chance(network.loseRequest)) this.#carry(random, client, machine, frame, reply, late);
    if (!random.chance(network.duplicate)) return false;
    const other = random.chance(0.5) ? machine : random.below(this.options.machines);
    this.#carry(random, client, other, frame, reply, late + random.between(0, network.lateMsMax));
    return true;
  }

  /** Mostly the process that owns the name's slot, now and then any. */
  #pick(random: Random, name: string): number {
    const any = random.below(this.options.machines);
    if (random.chance(this.clientNetwork.astray)) return any;
    // Also those that were stopped long ago and do not know that they lost it.
    const owners = [...this.machines.keys()].filter((machine) => {
      const process = this.machines[machine];
      return process?.state === 'serving' && process.front.ownsSlotOf(name);
    });
    if (owners.length > 0) return random.pick(owners);
    const running = this.machines.findIndex((process) => process?.state === 'serving');
    return running === -1 ? any : random.chance(0.5) ? running : any;
  }

  #carry(
    random: Random,
    client: string,
    machine: number,
    requests: readonly Request[],
    reply: (index: number, reply: Reply) => void,
    extraMs: number,
  ): void {
    const { delayMs, loseReply } = this.clientNetwork;
    const answer = (index: number, told: Reply) => {
      if (random.chance(loseReply)) return;
      this.scheduler.after(random.delay(delayMs), `answer to ${client}`, () => reply(index, told));
    };
    this.scheduler.after(random.delay(delayMs) + extraMs, `frame of ${client} to machine ${machine}`, () => {
      const process = this.machines[machine];
      if (process === undefined) {
        for (const index of requests.keys()) answer(index, refusal('moving'));
        return;
      }
      const receive = () => process.front.receive(requests, answer);
      this.scheduler.after(0, `${process.id} front receives ${requests.length} ops`, receive, process.domain);
    });
  }

  #collectMisuses(process: SimProcess): void {
    for (const { misuses } of process.connections) for (const text of misuses) this.violate('defect', text);
  }
}
