/**
 * Picks a fault of its profile now and then. Every fault that lasts has an end
 * of its own.
 */
import { Buffer } from 'node:buffer';
import { LIMITS } from '../../src/limits.ts';
import type { Cluster } from './cluster.ts';
import type { ModelStore } from './model-store.ts';
import { type Faults, type Profile, STORM } from './profiles.ts';
import type { Random } from './random.ts';

/**
 * From the cut until a process has no slots, beside the time that it waits: the
 * others miss its answers and end their links, it misses them in turn (the end
 * of a link may not arrive), then it hands over.
 */
const HANDED_MS = 2 * LIMITS.peerSilenceMs + 1_500;

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

  /** Mostly of a term that owns slots; `process`: of one of its terms, if it has any. */
  #endLease(store: ModelStore, process?: string): void {
    const owners = new Set(recordsOf<{ owner: string | null }>(store, 'slot').map(([, { owner }]) => owner));
    const terms = recordsOf<{ process: string }>(store, 'term');
    const own = terms.filter(([, record]) => record.process === process).map(([term]) => term);
    const owning = (own.length > 0 ? own : terms.map(([term]) => term)).filter((term) => owners.has(term));
    const leases = owning.map((term) => store.leaseOf(`holdfast/term/${term}`));
    const from = leases.length === 0 || this.#random.chance(0.25) ? store.leases : leases;
    if (from.length > 0) store.endLease(this.#random.pick(from), 'nemesis');
  }

  #strike(fault: keyof Faults): void {
    const { scheduler, stores, network } = this.#cluster;
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
      case 'join':
        return this.#join();
      case 'cutPeers':
        return this.#cutPeers(machine);
      case 'isolate':
        return this.#isolate(machine);
      case 'breakPeers':
        return network.breakOff(machine, this.#other(machine));
      case 'slowPeers':
        network.slow(machine, true);
        return this.#later(300, 5_000, `machine ${machine} is fast`, () => network.slow(machine, false));
      case 'endLease':
        return this.#endLease(store);
      case 'partition':
        return this.#partition();
      case 'deaf':
        return this.#deafen(machine, store);
      case 'forget':
        return this.#forget(machine, store);
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
      case 'pauseKeeper':
      case 'pauseFront': {
        const domain = {
          pauseProcess: process.process,
          pauseLane: random.pick(process.lanes).domain,
          pauseKeeper: process.keeperDomain,
          pauseFront: process.domain,
        }[fault];
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

  #other(machine: number): number {
    const { length } = this.#cluster.machines;
    return (machine + 1 + this.#random.below(length - 1)) % length;
  }

  #join(): void {
    const empty = this.#cluster.machines.findIndex((process) => process === undefined);
    if (empty !== -1) this.#cluster.start(empty);
  }

  #cutPeers(machine: number): void {
    const other = this.#other(machine);
    const ways = [
      [machine, other],
      [other, machine],
    ];
    this.#cut(this.#random.chance(0.5) ? ways : [this.#random.pick(ways)], this.#cutMs());
  }

  /** From all others: what it sends, what they send, or both. */
  #isolate(machine: number): void {
    const others = [...this.#cluster.machines.keys()].filter((other) => other !== machine);
    const out = others.map((other) => [machine, other]);
    const back = others.map((other) => [other, machine]);
    const ways = this.#random.pick([out, back, [...out, ...back]]);
    const isAlone = Object.keys(this.#profile.faults).length === 1;
    const handedMs = LIMITS.isolatedAfterMs + HANDED_MS;
    this.#cut(ways, isAlone && this.#random.chance(0.7) ? handedMs + 500 : this.#cutMs());
    // Where nothing else is wrong.
    if (!isAlone) return;
    const process = this.#cluster.machines[machine];
    this.#cluster.scheduler.after(handedMs, 'nemesis looks', () => {
      if (process === undefined || !this.#isStillCut(ways)) return;
      const { ownedSlots } = process.front;
      if (ownedSlots > 0)
        this.#cluster.violate('liveness', `${process.id} is isolated and has ${ownedSlots} slots`);
    });
  }

  /** These ways, since then without a break, and no others. */
  #isStillCut(ways: readonly (readonly number[])[]): boolean {
    const { network, scheduler } = this.#cluster;
    const since = scheduler.now - LIMITS.isolatedAfterMs - HANDED_MS;
    const cuts = ways.map(([from, to]) => network.cuts.get(`${from}>${to}`) ?? Infinity);
    return network.cuts.size === ways.length && cuts.every((at) => at <= since);
  }

  #cutMs(): number {
    return this.#random.between(100, this.#random.chance(0.5) ? 1_500 : 9_000);
  }

  #cut(ways: readonly (readonly number[])[], ms: number): void {
    const { network } = this.#cluster;
    for (const [from, to] of ways) network.cut(from, to);
    const text = ways.map(([from, to]) => `${from}>${to}`).join(' ');
    this.#later(ms, ms, `mended: ${text}`, () => {
      for (const [from, to] of ways) network.mend(from, to);
    });
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
    const keepsReplies = this.#random.pick([0, 0.5]);
    for (const connection of deaf) Object.assign(connection, { keepsReplies, deaf: true });
    this.#later(50, 2_500, `${process.id} hears ${store.name}`, () => {
      for (const connection of deaf) connection.deaf = false;
    });
    if (this.#random.chance(0.6))
      this.#later(0, 600, `lease of ${store.name} ends`, () => this.#endLease(store, process.id));
  }

  /**
   * From its next commit on a lane hears nothing, and its term ends. It hears
   * again just before it asks what became of the commit, or just after: then it
   * may hear of its end while that question is still open.
   */
  #forget(machine: number, store: ModelStore): void {
    for (const { connections } of this.#cluster.machines[machine]?.lanes ?? []) {
      const connection = connections.find(({ name }) => name === store.name)!;
      connection.committed = (termKey) => {
        connection.committed = undefined;
        if (this.over) return;
        const asks = this.#random.chance(0.5);
        Object.assign(connection, { keepsReplies: asks ? 0.5 : 0, deaf: true });
        const endLease = () => store.endLease(store.leaseOf(termKey), 'nemesis');
        this.#later(20, 200, `lease of ${termKey} ends`, endLease);
        const at = LIMITS.commitTimeoutMs;
        const [low, high] = asks ? [at, at + 600] : [at - 400, at];
        this.#later(low, high, `${termKey} hears`, () => (connection.deaf = false));
      };
    }
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

function recordsOf<T>(store: ModelStore, kind: string): [string, T][] {
  const prefix = `holdfast/${kind}/`;
  const { entries } = store.range(prefix, `holdfast/${kind}0`, Infinity, false);
  return entries.map(({ key, value }) => [
    key.slice(prefix.length),
    JSON.parse(Buffer.from(value).toString()) as T,
  ]);
}
