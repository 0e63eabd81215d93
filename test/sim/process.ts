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
import { Front, FRONT_SWEEP_MS } from './front.ts';
import { ModelConnection, type NetworkFaults } from './model-connection.ts';
import type { ModelStore } from './model-store.ts';
import type { Random } from './random.ts';
import { Domain, type Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

export interface ProcessOptions {
  readonly id: string;
  readonly lanes: number;
  readonly stores: readonly ModelStore[];
  readonly slots: number;
  readonly hashKey: HashKey;
  readonly faults: NetworkFaults;
  readonly requestTimeoutMs: number;
  /** Told of every fault of the code under test. */
  readonly complain: (text: string) => void;
}

/** Between two threads of one process. */
const THREAD_HOP_MS = 0.1;
/** Beats without progress of a lane, after which its leases are no longer kept alive. */
const STILL_BEATS_MAX = 2;

interface SimLane {
  readonly domain: Domain;
  readonly lane: Lane;
  readonly connections: readonly ModelConnection[];
  /** When the last message of either direction arrives: messages do not overtake each other. */
  inboxAt: number;
  outboxAt: number;
  progress: number;
}

export class SimProcess {
  readonly id: string;
  readonly clock: SimClock;
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

  constructor(scheduler: Scheduler, random: Random, options: ProcessOptions) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#options = options;
    this.id = options.id;
    this.domain = new Domain(options.id);
    this.keeperDomain = new Domain(`${options.id}.keeper`, this.domain);
    // Two clocks differ by at most 500 ppm: what ttlPadMs allows for.
    this.clock = new SimClock(scheduler, random.fork('clock'), 1 + random.between(-250e-6, 250e-6));
    this.front = new Front(this.#frontHost(), options.hashKey, options.slots);
    const keepers = options.stores.map((store) => this.#connect(store, 'keeper', this.keeperDomain));
    for (let lane = 0; lane < options.lanes; lane++) this.lanes.push(this.#makeLane(lane, keepers));
    for (const { lane, domain } of this.lanes)
      this.#scheduler.after(0, `${domain.name} starts`, () => lane.start(), domain);
    this.#sweepFront();
    this.#beat();
  }

  get alive(): boolean {
    return this.state !== 'gone';
  }

  /** kill -9: nothing of it runs any more; what it has sent is on its way. */
  kill(): void {
    this.state = 'gone';
    for (const { lane } of this.lanes) lane.kill();
    this.domain.kill();
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
    return this.lanes.some(({ domain }) => domain.paused);
  }

  /** From now on the time that answers may take counts anew. */
  disturbed(): void {
    this.#disturbedAt = this.clock.now();
  }

  /** SIGTERM: no new requests, everything open is answered, the terms are given back. `done` is called when it is gone. */
  stop(done: () => void): void {
    this.state = 'stopping';
    this.front.draining = true;
    let left = this.lanes.length;
    const stopped = () => {
      if (--left > 0) return;
      // The last answers are still on their way between the threads.
      this.#scheduler.after(50 * THREAD_HOP_MS, `${this.id} exits`, () => this.#exit(done), this.domain);
    };
    for (const to of this.lanes) {
      const begin = () =>
        void to.lane
          .stop()
          .then(stopped, (error: unknown) => this.#options.complain(`stop failed: ${String(error)}`));
      this.#tell(to, 'stops', begin);
    }
  }

  #exit(done: () => void): void {
    const { openAtLanes } = this.front;
    if (openAtLanes.length > 0) {
      this.#options.complain(
        `${this.id}: stopped with ${openAtLanes.length} requests unanswered: ${openAtLanes.join(', ')}`,
      );
    }
    this.kill();
    done();
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
    const domain = new Domain(`${this.id}.${index}`, this.domain);
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
      process: { id: this.id, address: `${this.id}:7420`, version: 'sim' },
      stores: connections,
      slots,
      clock: this.clock.for(domain),
      keeper: this.#keeperOf(index, keepers),
      counters,
      requestTimeoutMs,
      randomHex: (bytes) => random.hex(bytes),
      emit: (message, transfer) => this.#emit(index, message, transfer ?? []),
      onProgress: () => void this.lanes[index].progress++,
    });
    return { domain, lane, connections, inboxAt: 0, outboxAt: 0, progress: 0 };
  }

  // ---- front

  #frontHost(): ConstructorParameters<typeof Front>[0] {
    return {
      name: this.id,
      requestTimeoutMs: this.#options.requestTimeoutMs,
      now: () => this.clock.now(),
      after: (delayMs, run) => void this.#scheduler.after(delayMs, `${this.id} front`, run, this.domain),
      submit: (lane, buffer, length) => this.#submit(lane, buffer, length),
      undisturbedSince: () => (this.#isDisturbed ? this.clock.now() : this.#disturbedAt),
      complain: (text) => this.#options.complain(`${this.id}: ${text}`),
    };
  }

  #sweepFront(): void {
    this.clock.for(this.domain).after(FRONT_SWEEP_MS, () => {
      this.front.sweep();
      this.#sweepFront();
    });
  }

  #submit(index: number, buffer: ArrayBuffer, length: number): void {
    const to = this.lanes[index];
    this.#tell(to, `batch of ${length} bytes`, () => to.lane.submit(buffer, length));
  }

  /** A task for a lane's thread: tasks arrive in the order in which they were given. */
  #tell(to: SimLane, what: string, run: () => void): void {
    to.inboxAt = Math.max(to.inboxAt, this.#scheduler.now + this.#random.delay(THREAD_HOP_MS));
    this.#scheduler.after(to.inboxAt - this.#scheduler.now, `${to.domain.name} ${what}`, run, to.domain);
  }

  /** Transferred buffers are gone for the lane, as between real threads. */
  #emit(index: number, message: LaneMessage, transfer: ArrayBuffer[]): void {
    const moved = structuredClone(message, { transfer });
    const from = this.lanes[index];
    from.outboxAt = Math.max(from.outboxAt, this.#scheduler.now + this.#random.delay(THREAD_HOP_MS));
    const run = () => this.front.hear(index, moved);
    const wait = from.outboxAt - this.#scheduler.now;
    this.#scheduler.after(wait, `${from.domain.name} says ${describe(moved)}`, run, this.domain);
  }

  // ---- keeper

  #keeperOf(lane: number, keepers: readonly ModelConnection[]): LeaseKeeper {
    const tell = (run: () => void) => {
      this.#scheduler.after(
        this.#random.delay(THREAD_HOP_MS),
        `${this.id}.${lane} tells the keeper`,
        run,
        this.keeperDomain,
      );
    };
    return {
      keep: (shard, lease) => {
        const connection = keepers.find(({ name }) => name === shard)!;
        tell(() => this.#leases.set(`${shard} ${lease}`, { lane, connection, lease, seen: -1, still: 0 }));
      },
      drop: (shard, lease) => tell(() => this.#leases.delete(`${shard} ${lease}`)),
    };
  }

  /** Four times a lease's life it is kept alive, as long as its lane gets on. */
  #beat(): void {
    this.clock.for(this.keeperDomain).after(LIMITS.leaseTtlMs / 4, () => {
      for (const [key, entry] of this.#leases) {
        const { progress } = this.lanes[entry.lane];
        entry.still = progress === entry.seen ? entry.still + 1 : 0;
        entry.seen = progress;
        if (entry.still > STILL_BEATS_MAX) continue;
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
    case 'shard':
      return `shard ${message.shard} ${message.up ? 'up' : 'down'}: ${message.detail}`;
    case 'log':
      return `${message.level} ${message.message}`;
  }
}
