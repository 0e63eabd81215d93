/**
 * A simulated Holdfast process: a front, lanes in threads of their own, a
 * lease keeper in another, one clock. Starts, drains, is killed, is stopped and
 * goes on, as a whole or a thread at a time.
 */
import { Lane } from '../../src/lane/lane.ts';
import type { LaneMessage } from '../../src/lane/messages.ts';
import { LIMITS } from '../../src/limits.ts';
import { LaneCounters } from '../../src/metrics/counters.ts';
import type { LeaseKeeper } from '../../src/shard/store.ts';
import type { HashKey } from '../../src/slots/hash.ts';
import type { ClientConnection } from './client-connection.ts';
import { Front } from './front.ts';
import { ModelConnection, type NetworkFaults } from './model-connection.ts';
import type { ModelStore } from './model-store.ts';
import { addressOf, type Called, type CalledWire, type PeerNetwork, type Station } from './peer-network.ts';
import type { Random } from './random.ts';
import { Domain, type Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

export interface ProcessOptions {
  readonly id: string;
  readonly machine: number;
  readonly cluster: string;
  readonly lanes: number;
  readonly stores: readonly ModelStore[];
  readonly network: PeerNetwork;
  readonly slots: number;
  readonly hashKey: HashKey;
  readonly faults: NetworkFaults;
  readonly requestTimeoutMs: number;
  /** Per message between threads: it takes long. */
  readonly slowHop: number;
  readonly honestClocks: boolean;
  /** Told of every fault of the code under test. */
  readonly complain: (text: string) => void;
}

/** Between two threads of one process. */
const THREAD_HOP_MS = 0.1;
/** When the thread that is to read is busy. */
const SLOW_HOP_MS_MAX = 40;
/** What one turn of the front's event loop takes, at most. */
const TURN_MS_MAX = 0.4;
/** Beats without progress of a lane or the front, after which leases are no longer kept alive. */
const STILL_BEATS_MAX = 2;
/** As in src/batch/lanes.ts. */
const TASK_SLACK_MS = 7_000;

interface SimLane {
  readonly domain: Domain;
  readonly lane: Lane;
  readonly connections: readonly ModelConnection[];
  /** When the last message of either direction arrives: messages do not overtake each other. */
  inboxAt: number;
  outboxAt: number;
  progress: number;
}

export class SimProcess implements Station {
  readonly id: string;
  readonly machine: number;
  readonly clock: SimClock;
  /** The whole process. */
  readonly process: Domain;
  /** The front's thread. */
  readonly domain: Domain;
  readonly keeperDomain: Domain;
  readonly front: Front;
  readonly lanes: SimLane[] = [];
  readonly connections: ModelConnection[] = [];
  state: 'serving' | 'stopping' | 'gone' = 'serving';

  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #options: ProcessOptions;
  readonly #leases = new Map<
    string,
    { lane: number; connection: ModelConnection; lease: string; seen: number; still: number }
  >();
  #disturbedAt = -Infinity;
  /** Of the front's thread, as the keeper sees it: how often it moved, and beats since then. */
  #frontSeen = -1;
  #frontStill = 0;

  constructor(scheduler: Scheduler, random: Random, options: ProcessOptions) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#options = options;
    this.id = options.id;
    this.machine = options.machine;
    this.process = new Domain(options.id);
    this.domain = new Domain(`${options.id}.front`, this.process);
    this.keeperDomain = new Domain(`${options.id}.keeper`, this.process);
    // Two clocks differ by at most 500 ppm: what ttlPadMs allows for.
    this.clock = new SimClock(scheduler, random.fork('clock'), 1 + random.between(-250e-6, 250e-6));
    this.front = this.#makeFront();
    options.network.attach(this);
    const keepers = options.stores.map((store) => this.#connect(store, 'keeper', this.keeperDomain));
    for (let lane = 0; lane < options.lanes; lane++) this.lanes.push(this.#makeLane(lane, keepers));
    for (const { lane, domain } of this.lanes)
      this.#scheduler.after(0, `${domain.name} starts`, () => lane.start(), domain);
    this.#beat();
  }

  get alive(): boolean {
    return this.state !== 'gone';
  }

  /** A client connects. */
  connect(): ClientConnection {
    return this.front.connect();
  }

  /** Another process calls. */
  accept(wire: CalledWire): Called {
    return this.front.accept(wire);
  }

  /** kill -9: nothing of it runs any more; what it has sent is on its way. */
  kill(): void {
    this.state = 'gone';
    for (const { lane } of this.lanes) lane.kill();
    this.process.kill();
    this.#options.network.detach(this);
  }

  /** SIGSTOP of the process, or of one thread of it; the clock goes on. */
  pause(domain: Domain): void {
    this.#scheduler.pause(domain);
  }

  resume(domain: Domain): void {
    this.#scheduler.resume(domain);
    this.disturbed();
  }

  /** A thread is stopped right now. */
  get #isDisturbed(): boolean {
    return this.domain.paused || this.lanes.some(({ domain }) => domain.paused);
  }

  /** From now on the time that answers may take counts anew. */
  disturbed(): void {
    this.#disturbedAt = this.clock.now();
  }

  /** SIGTERM, in the order of src/main.ts. `done` is called when it is gone. */
  stop(done: () => void): void {
    this.state = 'stopping';
    const left = this.#leave(done);
    left.catch((error: unknown) => this.#options.complain(`stop failed: ${String(error)}`));
  }

  async #leave(done: () => void): Promise<void> {
    const { front } = this;
    front.refuseClients();
    await this.#onLanes('leaves', (lane) => lane.leave());
    await front.drain(this.#options.requestTimeoutMs + LIMITS.stallMs);
    await this.#onLanes('stops', (lane) => lane.stop());
    // The last answers are still on their way between the threads.
    await new Promise<void>((resolve) => this.#inFront(50 * THREAD_HOP_MS, `${this.id} closes`, resolve));
    front.close();
    await new Promise<void>((resolve) => this.#inFront(TURN_MS_MAX, `${this.id} exits`, resolve));
    this.#exit(done);
  }

  #exit(done: () => void): void {
    const { unanswered, connections } = this.front;
    if (unanswered.length > 0) {
      this.#options.complain(
        `${this.id}: stopped with ${unanswered.length} requests unanswered: ${unanswered.join(', ')}`,
      );
    }
    if (connections.open < 0) this.#options.complain(`${this.id}: ${connections.open} requests are open`);
    this.kill();
    done();
  }

  /** A task for all lanes, which end it by themselves; one that does not is not waited for. */
  async #onLanes(what: string, task: (lane: Lane) => Promise<void>): Promise<void> {
    const ended = this.lanes.map((to) => {
      return new Promise<void>((resolve, reject) => {
        this.#tell(to, what, () => {
          task(to.lane).then(() => this.#inFront(this.#hop(), `${to.domain.name} ${what}`, resolve), reject);
        });
      });
    });
    const late = new Promise<void>((resolve) => {
      this.clock.for(this.domain).after(this.#options.requestTimeoutMs + TASK_SLACK_MS, resolve);
    });
    await Promise.race([Promise.all(ended), late]);
  }

  #hop(): number {
    const slow = this.#random.chance(this.#options.slowHop);
    return slow ? this.#random.between(0, SLOW_HOP_MS_MAX) : this.#random.delay(THREAD_HOP_MS);
  }

  #inFront(delayMs: number, label: string, run: () => void): void {
    this.#scheduler.after(delayMs, label, run, this.domain);
  }

  #connect(store: ModelStore, thread: string, domain: Domain): ModelConnection {
    const name = `${this.id}.${thread}`;
    const host = { domain, clock: this.clock.for(domain) };
    const random = this.#random.fork(`${name}>${store.name}`);
    const connection = new ModelConnection(this.#scheduler, random, store, name, host, this.#options.faults);
    this.connections.push(connection);
    return connection;
  }

  #makeLane(index: number, keepers: readonly ModelConnection[]): SimLane {
    const { stores, lanes, slots, requestTimeoutMs } = this.#options;
    const domain = new Domain(`${this.id}.${index}`, this.process);
    const connections = stores.map((store) => this.#connect(store, String(index), domain));
    const random = this.#random.fork(`lane ${index}`);
    const names = stores.map((store) => store.name);
    const counters = new LaneCounters(
      new SharedArrayBuffer(LaneCounters.bytes(names.length)),
      [...names].sort(),
    );
    const lane = new Lane({
      lane: index,
      lanes,
      process: { id: this.id, address: addressOf(this.machine), version: 'sim' },
      stores: connections,
      slots,
      clock: this.clock.for(domain),
      keeper: this.#keeperOf(index, keepers),
      counters,
      requestTimeoutMs,
      randomHex: (bytes) => random.hex(bytes),
      emit: (message, transfer) => this.#emit(index, message, transfer ?? []),
      onProgress: () => void this.lanes[index].progress++,
      mainBeats: () => this.front.sweeps,
    });
    return { domain, lane, connections, inboxAt: 0, outboxAt: 0, progress: 0 };
  }

  // ---- front

  #makeFront(): Front {
    const { cluster, hashKey, slots, stores, lanes, requestTimeoutMs, honestClocks } = this.#options;
    const settings = { process: this.id, cluster, hashKey, slots, lanes, requestTimeoutMs, honestClocks };
    const random = this.#random.fork('front');
    return new Front(
      { ...settings, shards: stores.map(({ name }) => name) },
      {
        clock: this.clock.for(this.domain),
        random,
        open: this.#options.network.openFrom(this),
        // Most turns read one frame, some several.
        defer: (run) =>
          this.#inFront(
            random.chance(0.5) ? 0 : random.between(0, TURN_MS_MAX),
            `${this.id} ends a turn`,
            run,
          ),
        submit: (lane, buffer, length, seen, taken) => this.#submit(lane, buffer, length, seen, taken),
        gone: (connection) =>
          this.lanes.forEach((to) => this.#tell(to, 'hears who is gone', () => to.lane.gone(connection))),
        want: (wanted) =>
          this.lanes.forEach((to) => this.#tell(to, 'hears what is wanted', () => to.lane.want(wanted))),
        reach: (reachable) =>
          this.lanes.forEach((to) =>
            this.#tell(to, `hears reach ${reachable}`, () => to.lane.reach(reachable)),
          ),
        undisturbedSince: () => (this.#isDisturbed ? this.clock.now() : this.#disturbedAt),
        note: (text) => this.#scheduler.note(text),
        complain: (text) => this.#options.complain(`${this.id}: ${text}`),
      },
    );
  }

  #submit(index: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void): void {
    const to = this.lanes[index];
    const moved = structuredClone(buffer, { transfer: [buffer] });
    this.#tell(to, `batch of ${length} bytes`, () => {
      to.lane.submit(moved, length, seen);
      this.#inFront(this.#hop(), `${to.domain.name} took a batch`, taken);
    });
  }

  /** A task for a lane's thread: tasks arrive in the order in which they were given. */
  #tell(to: SimLane, what: string, run: () => void): void {
    to.inboxAt = Math.max(to.inboxAt, this.#scheduler.now + this.#hop());
    this.#scheduler.after(to.inboxAt - this.#scheduler.now, `${to.domain.name} ${what}`, run, to.domain);
  }

  /** Transferred buffers are gone for the lane, as between real threads. */
  #emit(index: number, message: LaneMessage, transfer: ArrayBuffer[]): void {
    const moved = structuredClone(message, { transfer });
    const from = this.lanes[index];
    from.outboxAt = Math.max(from.outboxAt, this.#scheduler.now + this.#hop());
    const run = () => this.front.hear(index, moved);
    const wait = from.outboxAt - this.#scheduler.now;
    this.#scheduler.after(wait, `${from.domain.name} says ${describe(moved)}`, run, this.domain);
  }

  // ---- keeper

  #keeperOf(lane: number, keepers: readonly ModelConnection[]): LeaseKeeper {
    const tell = (run: () => void) => {
      this.#scheduler.after(this.#hop(), `${this.id}.${lane} tells the keeper`, run, this.keeperDomain);
    };
    return {
      keep: (shard, lease) => {
        const connection = keepers.find(({ name }) => name === shard)!;
        tell(() => this.#leases.set(`${shard} ${lease}`, { lane, connection, lease, seen: -1, still: 0 }));
      },
      drop: (shard, lease) => tell(() => this.#leases.delete(`${shard} ${lease}`)),
    };
  }

  /** Four times a lease's life it is kept alive, as long as its lane and the front get on. */
  #beat(): void {
    this.clock.for(this.keeperDomain).after(LIMITS.leaseTtlMs / 4, () => {
      const { sweeps } = this.front;
      this.#frontStill = sweeps === this.#frontSeen ? this.#frontStill + 1 : 0;
      this.#frontSeen = sweeps;
      for (const [key, entry] of this.#leases) {
        const { progress } = this.lanes[entry.lane];
        entry.still = progress === entry.seen ? entry.still + 1 : 0;
        entry.seen = progress;
        if (entry.still > STILL_BEATS_MAX || this.#frontStill > STILL_BEATS_MAX) continue;
        entry.connection.keepAlive(entry.lease).then(
          (there) => void (there || this.#leases.delete(key)),
          () => undefined,
        );
      }
      this.#beat();
    });
  }
}

function describe(message: LaneMessage): string {
  switch (message.kind) {
    case 'answers':
    case 'bounced':
      return `${message.kind} (${message.length} bytes)`;
    case 'owned':
    case 'lost':
      return `${message.kind} ${message.slots.length} slots of ${message.shard}, term ${message.term}`;
    case 'settled':
      return `settled ${message.announcement}`;
    case 'terms':
      return `terms of ${message.shard}: ${message.terms.length}`;
    case 'owners':
      return `owners of ${message.slots.length} slots of ${message.shard}`;
    case 'shard':
      return `shard ${message.shard} ${message.up ? 'up' : 'down'}: ${message.detail}`;
    case 'log':
      return `${message.level} ${message.message}`;
  }
}
