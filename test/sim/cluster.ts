/**
 * A whole cluster in one thread: model stores, machines that run processes, and
 * the network between them and the clients.
 */
import { openCluster } from '../../src/slots/birth.ts';
import { parseHashKey, type HashKey } from '../../src/slots/hash.ts';
import type { ClusterRecord } from '../../src/slots/records.ts';
import type { SentFrame, Transport, Way } from './client.ts';
import type { ClientConnection, Frame } from './client-connection.ts';
import type { Rule, Violation } from './history.ts';
import { CALM, ModelConnection, type NetworkFaults } from './model-connection.ts';
import { ModelStore } from './model-store.ts';
import { type PeerFaults, PeerNetwork } from './peer-network.ts';
import { SimProcess } from './process.ts';
import type { Random } from './random.ts';
import { refusal, type Reply } from './request.ts';
import { Domain, type Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

/** Between clients and processes. Probabilities are per frame. */
export interface ClientNetwork {
  readonly delayMs: number;
  readonly loseRequest: number;
  readonly loseReply: number;
  readonly duplicate: number;
  readonly late: number;
  /** In request time-outs. */
  readonly lateShareMax: number;
  /** The client asks another process than it mostly does. */
  readonly astray: number;
}

export const CALM_CLIENTS: ClientNetwork = {
  delayMs: 0.3,
  loseRequest: 0,
  loseReply: 0,
  duplicate: 0,
  late: 0,
  lateShareMax: 0,
  astray: 0.05,
};

/** How long a client stays with one process, in ms. */
const STAYS_MS = 4_000;

export interface ClusterOptions {
  readonly shards: number;
  readonly machines: number;
  /** Machines that have a process from the start; the others join later. */
  readonly machinesAtFirst: number;
  readonly lanes: number;
  readonly slots: number;
  readonly requestTimeoutMs: number;
  readonly storeFaults: NetworkFaults;
  readonly clientNetwork: ClientNetwork;
  readonly peerFaults: PeerFaults;
  /** Per message between two threads of a process: it takes long. */
  readonly slowHop: number;
  /** No clock jumps or stands still. */
  readonly honestClocks: boolean;
}

/** A client's connection to a process. What goes over it arrives in the order in which it was sent. */
interface ClientWire {
  readonly number: number;
  readonly process: SimProcess | undefined;
  connection: ClientConnection | undefined;
  arrivesAt: number;
  /** The same of answers. */
  answersAt: number;
}

export class Cluster {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly options: ClusterOptions;
  readonly stores: ModelStore[] = [];
  readonly network: PeerNetwork;
  /** By machine: the process that runs there. */
  readonly machines: (SimProcess | undefined)[] = [];
  readonly violations: Violation[] = [];
  /** Connections of clients that are over, and since when; of these, those whose process is dead. */
  readonly closedAt = new Map<number, number>();
  readonly killedAt = new Map<number, number>();
  storeFaults: NetworkFaults;
  clientNetwork: ClientNetwork;
  #hashKey: HashKey = { k0: 0, k1: 0 };
  #id = '';
  #incarnations = 0;
  #lastWire = 0;
  readonly #wires = new Set<ClientWire>();
  /** Forwards of processes that are gone. */
  #forwards = 0;

  constructor(scheduler: Scheduler, random: Random, options: ClusterOptions) {
    this.scheduler = scheduler;
    this.random = random;
    this.options = options;
    this.storeFaults = options.storeFaults;
    this.clientNetwork = options.clientNetwork;
    this.network = new PeerNetwork(scheduler, random.fork('peers'));
    this.network.faults = options.peerFaults;
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
    let born: ClusterRecord | undefined;
    const opened = openCluster(connections, { slots: this.options.slots, shards }, (bytes) =>
      random.hex(bytes),
    );
    opened.then(
      (record) => (born = record),
      (error: unknown) => this.violate('defect', `the cluster was not born: ${String(error)}`),
    );
    await this.scheduler.run(this.scheduler.now + 1_000);
    if (born === undefined) throw new Error('the cluster was not born');
    this.#hashKey = parseHashKey(born.hashKey);
    this.#id = born.id;
    for (let machine = 0; machine < this.options.machines; machine++) {
      if (machine < this.options.machinesAtFirst) this.start(machine);
      else this.machines[machine] = undefined;
    }
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
      machine,
      cluster: this.#id,
      lanes: this.options.lanes,
      stores: this.stores,
      network: this.network,
      slots: this.options.slots,
      hashKey: this.#hashKey,
      faults: this.storeFaults,
      requestTimeoutMs: this.options.requestTimeoutMs,
      slowHop: this.options.slowHop,
      honestClocks: this.options.honestClocks,
      complain: (text) =>
        this.violate(/answer|forward|sent|served|stopped with/.test(text) ? 'answered' : 'defect', text),
    });
  }

  kill(machine: number): void {
    const process = this.machines[machine];
    if (process === undefined) return;
    this.scheduler.note(`kill ${process.id}`);
    this.#collect(process);
    process.kill();
    this.#sever(process);
    this.machines[machine] = undefined;
  }

  /** SIGTERM; `done` when the process is gone. */
  stop(machine: number, done: () => void): void {
    const process = this.machines[machine];
    if (process === undefined || process.state !== 'serving') return;
    this.scheduler.note(`stop ${process.id}`);
    process.stop(() => {
      this.#collect(process);
      this.#sever(process);
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
    this.network.heal();
    for (const process of this.processes) {
      process.clock.go();
      for (const domain of [process.process, ...process.process.children]) process.resume(domain);
      for (const connection of process.connections) connection.heal();
    }
  }

  finish(): void {
    for (const process of this.processes) this.#collect(process);
  }

  /** Forwards of all processes that ever were. */
  get forwards(): number {
    return this.processes.reduce((sum, { front }) => sum + front.audit.forwards, this.#forwards);
  }

  /** The way of `client`'s frames to the cluster: mostly to one process, which changes now and then. */
  transport(client: string): Transport {
    const random = this.random.fork(`network of ${client}`);
    const wires = new Map<SimProcess, ClientWire>();
    let home = -1;
    let staysUntil = -Infinity;
    return {
      send: (frame) => {
        if (this.scheduler.now >= staysUntil || this.machines[home]?.state !== 'serving') {
          home = this.#pick(random);
          staysUntil = this.scheduler.now + random.delay(STAYS_MS);
        }
        const astray = random.chance(this.clientNetwork.astray);
        const process = this.machines[astray ? this.#pick(random) : home];
        let wire = process === undefined ? undefined : wires.get(process);
        if (wire === undefined) {
          wire = this.#newWire(process);
          if (process !== undefined) wires.set(process, wire);
        }
        return this.#sendFrame(random, client, wire, frame);
      },
      close: () => {
        for (const wire of wires.values()) this.#hangUp(random, client, wire);
        wires.clear();
      },
    };
  }

  /** A process that serves, as a load balancer knows them, or nobody's machine. */
  #pick(random: Random): number {
    const serving = [...this.machines.keys()].filter(
      (machine) => this.machines[machine]?.state === 'serving',
    );
    return serving.length === 0 ? random.below(this.options.machines) : random.pick(serving);
  }

  #newWire(process: SimProcess | undefined): ClientWire {
    const number = ++this.#lastWire;
    const wire: ClientWire = { number, process, connection: undefined, arrivesAt: 0, answersAt: 0 };
    if (process?.alive) this.#wires.add(wire);
    else this.#end(wire);
    return wire;
  }

  /** The process is gone, and all connections to it. */
  #sever(process: SimProcess): void {
    for (const wire of this.#wires) if (wire.process === process) this.#end(wire);
  }

  #end(wire: ClientWire): void {
    const { now } = this.scheduler;
    if (!this.closedAt.has(wire.number)) this.closedAt.set(wire.number, now);
    if (!wire.process?.alive) this.killedAt.set(wire.number, now);
    if (!wire.process?.alive) this.#wires.delete(wire);
  }

  /** What has bad luck travels on a connection of its own: it has no order with anything else. */
  #sendFrame(random: Random, client: string, usual: ClientWire, frame: SentFrame): Way {
    const { late, lateShareMax, loseRequest, duplicate } = this.clientNetwork;
    const lateMsMax = lateShareMax * this.options.requestTimeoutMs;
    const isLate = random.chance(late);
    const wire = isLate ? this.#newWire(usual.process) : usual;
    const extraMs = isLate ? random.between(0, lateMsMax) : 0;
    const isLost = random.chance(loseRequest);
    const sent = isLost ? undefined : this.#carry(random, client, wire, frame, extraMs);
    const cancel = (index: number) => {
      if (sent === undefined || random.chance(loseRequest)) return;
      const label = `${client} takes back a wait from ${wire.process?.id}`;
      this.#reach(random, wire, label, 0, () => wire.connection?.cancel(sent, index));
    };
    if (!random.chance(duplicate)) return { wire: isLost ? 0 : wire.number, copies: 0, cancel };
    const other = random.chance(0.5) ? usual.process : random.pick(this.machines);
    this.#carry(random, client, this.#newWire(other), frame, extraMs + random.between(0, lateMsMax));
    return { wire: wire.number, copies: 1, cancel };
  }

  /** Returns the frame as the process gets it. */
  #carry(random: Random, client: string, wire: ClientWire, sent: SentFrame, extraMs: number): Frame {
    const { scheduler } = this;
    const { process } = wire;
    const { delayMs, loseReply } = this.clientNetwork;
    const { requests } = sent;
    const reply = (index: number, told: Reply, isCut = this.closedAt.has(wire.number)) => {
      const isLost = random.chance(loseReply) || isCut;
      if (isLost && told.status >= 200) sent.lost(index);
      if (isLost) return;
      wire.answersAt = Math.max(wire.answersAt, scheduler.now + random.delay(delayMs));
      scheduler.after(wire.answersAt - scheduler.now, `answer to ${client}`, () => sent.reply(index, told));
    };
    const frame: Frame = { requests, reply: (index, told) => reply(index, told) };
    const label = `front receives ${requests.length} ops of ${client} on ${wire.number}`;
    this.#reach(random, wire, label, extraMs, (alive) => {
      // Nobody listens there, which a load balancer says at once.
      if (!alive) return void requests.forEach((_, index) => reply(index, refusal('draining'), false));
      wire.connection ??= process!.connect();
      wire.connection.receive(frame);
    });
    return frame;
  }

  /** What arrives at the far end of `wire`, behind what was sent before. */
  #reach(
    random: Random,
    wire: ClientWire,
    label: string,
    extraMs: number,
    arrive: (alive: boolean) => void,
  ): void {
    const { scheduler } = this;
    const { process } = wire;
    const delay = random.delay(this.clientNetwork.delayMs) + extraMs;
    wire.arrivesAt = Math.max(wire.arrivesAt, scheduler.now + delay);
    scheduler.after(wire.arrivesAt - scheduler.now, `something comes to ${process?.id ?? 'nobody'}`, () => {
      if (process === undefined || !process.alive) return arrive(false);
      scheduler.after(0, `${process.id} ${label}`, () => arrive(true), process.domain);
    });
  }

  #hangUp(random: Random, client: string, wire: ClientWire): void {
    this.#end(wire);
    this.#reach(random, wire, `${client} hung up on ${wire.number}`, 0, () => wire.connection?.close());
  }

  #collect(process: SimProcess): void {
    this.#forwards += process.front.audit.forwards;
    for (const { misuses } of process.connections) for (const text of misuses) this.violate('defect', text);
  }
}
