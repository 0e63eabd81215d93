/**
 * What goes wrong in a run: workload profiles, and the one who picks a fault
 * now and then. Every fault that lasts has an end of its own.
 */
import { Buffer } from 'node:buffer';
import type { ClientNetwork, Cluster } from './cluster.ts';
import { CALM_CLIENTS } from './cluster.ts';
import { COPY_MS_MAX } from './client.ts';
import { CALM, type NetworkFaults } from './model-connection.ts';
import type { ModelStore } from './model-store.ts';
import type { Random } from './random.ts';

/** Weights: how often each is picked. */
export interface Faults {
  readonly kill?: number;
  readonly stop?: number;
  readonly pauseProcess?: number;
  readonly pauseLane?: number;
  readonly pauseKeeper?: number;
  readonly endLease?: number;
  readonly partition?: number;
  /** Nothing that a store says is heard; often the lease ends meanwhile. */
  readonly deaf?: number;
  readonly outage?: number;
  readonly full?: number;
  readonly storm?: number;
  readonly stopClock?: number;
  readonly jumpWall?: number;
  readonly jumpClock?: number;
}

export interface Profile {
  readonly faults: Faults;
  /** Mean time between two faults, in ms. */
  readonly everyMs: number;
  readonly store: NetworkFaults;
  readonly clients: ClientNetwork;
}

const FLAKY_STORE: NetworkFaults = {
  delayMs: 1,
  refuse: 0.005,
  loseRequest: 0.003,
  loseReply: 0.006,
  late: 0.01,
  lateMsMax: 4_000,
  stall: 0.004,
  duplicate: 0.01,
  resetWatch: 0.01,
};
/** For a while nearly nothing goes right. */
const STORM: NetworkFaults = {
  delayMs: 10,
  refuse: 0.1,
  loseRequest: 0.05,
  loseReply: 0.15,
  late: 0.15,
  lateMsMax: 8_000,
  stall: 0.1,
  duplicate: 0.1,
  resetWatch: 0.2,
};
const FLAKY_CLIENTS: ClientNetwork = {
  delayMs: 0.5,
  loseRequest: 0.01,
  loseReply: 0.02,
  duplicate: 0.03,
  late: 0.02,
  lateMsMax: COPY_MS_MAX,
  astray: 0.02,
};

export const PROFILES = {
  calm: { faults: {}, everyMs: 1_000, store: CALM, clients: CALM_CLIENTS },
  kills: { faults: { kill: 3, stop: 1 }, everyMs: 2_500, store: CALM, clients: FLAKY_CLIENTS },
  store: {
    faults: { partition: 3, deaf: 2, outage: 2, full: 1, storm: 3 },
    everyMs: 2_500,
    store: FLAKY_STORE,
    clients: CALM_CLIENTS,
  },
  pauses: {
    faults: { pauseProcess: 3, pauseLane: 3, pauseKeeper: 1 },
    everyMs: 2_500,
    store: FLAKY_STORE,
    clients: CALM_CLIENTS,
  },
  leases: {
    faults: { endLease: 4, deaf: 4, pauseKeeper: 2, storm: 1 },
    everyMs: 1_500,
    store: FLAKY_STORE,
    clients: FLAKY_CLIENTS,
  },
  clocks: {
    faults: { stopClock: 3, jumpWall: 1, endLease: 1 },
    everyMs: 2_000,
    store: CALM,
    clients: FLAKY_CLIENTS,
  },
  jumps: { faults: { jumpClock: 3, endLease: 1 }, everyMs: 2_000, store: CALM, clients: CALM_CLIENTS },
  everything: {
    faults: {
      kill: 3,
      stop: 1,
      pauseProcess: 3,
      pauseLane: 2,
      pauseKeeper: 1,
      endLease: 2,
      partition: 2,
      deaf: 2,
      outage: 1,
      full: 1,
      storm: 3,
      stopClock: 1,
      jumpWall: 1,
    },
    everyMs: 1_800,
    store: FLAKY_STORE,
    clients: FLAKY_CLIENTS,
  },
} as const satisfies Record<string, Profile>;

export type ProfileName = keyof typeof PROFILES;

/** Picks faults until `until`; those under way may end a little later. */
export class Nemesis {
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #profile: Profile;
  readonly #until: number;
  over = false;

  constructor(cluster: Cluster, random: Random, profile: Profile, until: number) {
    this.#cluster = cluster;
    this.#random = random;
    this.#profile = profile;
    this.#until = until;
    this.#next();
  }

  #next(): void {
    const wait = this.#random.between(0.1, 2) * this.#profile.everyMs;
    if (this.#cluster.scheduler.now + wait > this.#until) return;
    this.#cluster.scheduler.after(wait, 'nemesis', () => {
      const fault = this.#pick();
      if (fault !== undefined) this.#strike(fault);
      this.#next();
    });
  }

  #pick(): keyof Faults | undefined {
    const entries = Object.entries(this.#profile.faults) as [keyof Faults, number][];
    let at = this.#random.between(
      0,
      entries.reduce((sum, [, weight]) => sum + weight, 0),
    );
    return entries.find(([, weight]) => (at -= weight) < 0)?.[0];
  }

  /** Undoes a lasting fault, unless the faults are over and everything was healed. */
  #later(lowMs: number, highMs: number, what: string, undo: () => void): void {
    this.#cluster.scheduler.after(this.#random.between(lowMs, highMs), what, () => {
      if (!this.over) undo();
    });
  }

  /** Mostly one that serves: what happens to the others is of little interest. */
  #pickMachine(): number {
    const { machines } = this.#cluster;
    const serving = [...machines.keys()].filter((machine) => (machines[machine]?.front.ownedSlots ?? 0) > 0);
    const any = serving.length === 0 || this.#random.chance(0.25);
    return any ? this.#random.below(machines.length) : this.#random.pick(serving);
  }

  /** Mostly of a term that owns slots. */
  #endLease(store: ModelStore): void {
    const records = store.range('holdfast/slot/', 'holdfast/slot0', Infinity, false).entries;
    const owners = new Set(
      records.map(
        ({ value }) => (JSON.parse(Buffer.from(value).toString()) as { owner: string | null }).owner,
      ),
    );
    const owning = [...owners]
      .map((term) => store.leaseOf(`holdfast/term/${term}`))
      .filter((lease) => lease !== '');
    const from = owning.length === 0 || this.#random.chance(0.25) ? store.leases : owning;
    if (from.length > 0) store.endLease(this.#random.pick(from), 'nemesis');
  }

  #strike(fault: keyof Faults): void {
    const { scheduler, stores } = this.#cluster;
    const random = this.#random;
    const machine = this.#pickMachine();
    const process = this.#cluster.machines[machine];
    const store = random.pick(stores);
    scheduler.note(`FAULT ${fault} machine ${machine} or ${store.name}`);
    switch (fault) {
      case 'kill':
        this.#cluster.kill(machine);
        return this.#restartLater(machine);
      case 'stop':
        return this.#cluster.stop(machine, () => this.#restartLater(machine));
      case 'endLease':
        return this.#endLease(store);
      case 'partition':
        return this.#partition();
      case 'deaf':
        return this.#deafen(machine, store);
      case 'outage':
        store.down = true;
        return this.#later(100, 7_000, `${store.name} up`, () => this.#up(store.name));
      case 'full':
        store.full = true;
        return this.#later(100, 5_000, `${store.name} has room`, () => void (store.full = false));
      case 'storm':
        this.#cluster.setStoreFaults(STORM);
        return this.#later(300, 4_000, 'storm over', () => this.#cluster.setStoreFaults(this.#profile.store));
      default:
        if (process?.state === 'serving') this.#strikeProcess(fault, process);
    }
  }

  #strikeProcess(fault: keyof Faults, process: NonNullable<Cluster['machines'][number]>): void {
    const random = this.#random;
    switch (fault) {
      case 'pauseProcess':
      case 'pauseLane':
      case 'pauseKeeper': {
        const lane = random.pick(process.lanes).domain;
        const domain =
          fault === 'pauseProcess' ? process.domain : fault === 'pauseLane' ? lane : process.keeperDomain;
        process.pause(domain);
        const longest = random.chance(0.5) ? 800 : 12_000;
        return this.#later(10, longest, `resume ${domain.name}`, () => process.resume(domain));
      }
      case 'stopClock':
        process.clock.stop();
        return this.#later(10, 4_000, `clock of ${process.id} goes on`, () => {
          process.clock.go();
          process.disturbed();
        });
      case 'jumpWall':
        return process.clock.jumpWall(random.between(-1e8, 1e8));
      case 'jumpClock':
        process.clock.jump(random.between(10, 4_000));
        return process.disturbed();
      default:
        throw new Error(`no such fault: ${fault}`);
    }
  }

  #partition(): void {
    const random = this.#random;
    const all = this.#cluster.connections;
    if (all.length === 0) return;
    const one = random.pick(all);
    const process = this.#cluster.processes.find(({ connections }) => connections.includes(one))!;
    const cut = random.chance(0.5) ? [one] : process.connections.filter(() => random.chance(0.7));
    for (const connection of cut) connection.partitioned = true;
    this.#later(100, 9_000, `${process.id} reconnects`, () => {
      for (const connection of cut) connection.heal();
    });
  }

  #deafen(machine: number, store: ModelStore): void {
    const process = this.#cluster.machines[machine];
    if (process === undefined) return;
    const lanes = process.lanes.flatMap(({ connections }) => connections);
    const deaf = lanes.filter(({ name }) => name === store.name);
    for (const connection of deaf) connection.deaf = true;
    this.#later(50, 2_500, `${process.id} hears ${store.name}`, () => {
      for (const connection of deaf) connection.deaf = false;
    });
    if (this.#random.chance(0.6))
      this.#later(0, 600, `lease of ${store.name} ends`, () => this.#endLease(store));
  }

  #up(name: string): void {
    for (const store of this.#cluster.stores) if (store.name === name) store.down = false;
    for (const connection of this.#cluster.connections) {
      if (connection.name === name && !connection.partitioned) connection.heal();
    }
  }

  #restartLater(machine: number): void {
    this.#later(10, 6_000, `restart of machine ${machine}`, () => {
      if (this.#cluster.machines[machine] === undefined) this.#cluster.start(machine);
    });
  }
}
