/**
 * The network between processes: connections, each of two streams that keep
 * their order, and what happens to them.
 *
 *   opening ─► open ─► closed by an end, broken, or silent for ever
 *
 * A stream's bytes wait in the sender's kernel while its direction is cut; they
 * arrive when that is over, however late. When an end closes, what it had
 * handed over is dropped, or still comes, up to seconds later: both happen.
 */
import type { OpenWire, Wire, WireEvents } from '../../src/peers/wire.ts';
import type { Random } from './random.ts';
import type { Domain, Scheduler } from './scheduler.ts';

/** Probabilities; times in ms. */
export interface PeerFaults {
  readonly delayMs: number;
  /** Per attempt to connect: nobody listens there; or it takes up to slowConnectMsMax. */
  readonly refuse: number;
  readonly slowConnect: number;
  readonly slowConnectMsMax: number;
  /** Per frame: the connection breaks before, or after it. */
  readonly breakOff: number;
  /** Per frame: it, and what follows, is held up for up to lateMsMax. */
  readonly late: number;
  readonly lateMsMax: number;
}

export const CALM_PEERS: PeerFaults = {
  delayMs: 0.3,
  refuse: 0,
  slowConnect: 0,
  slowConnectMsMax: 0,
  breakOff: 0,
  late: 0,
  lateMsMax: 0,
};

/** The end of a connection that was called, as a process has it. */
export interface Called {
  /** `ageMs`: how long ago it was handed to the wire, in true time. */
  message(frame: ArrayBuffer, ageMs: number): void;
  closed(): void;
}

/** What a process that is called gets of the connection. */
export interface CalledWire {
  send(frame: Uint8Array): void;
  /** Behind what was sent. No event comes any more. */
  close(reason: string): void;
}

/** A process, as the network sees it. */
export interface Station {
  readonly id: string;
  readonly machine: number;
  /** Where it reads what comes. */
  readonly domain: Domain;
  accept(wire: CalledWire): Called;
}

/** Bytes that the kernels of both ends take before a sender has to keep them. */
const KERNEL_BYTES = 3_000;
const LINGER_MS_MAX = 4_000;
/** What a slow machine's frames take, at least. */
const SLOW_MS_MAX = 700;

export function addressOf(machine: number): string {
  return `10.0.0.${machine + 1}:7420`;
}

export class PeerNetwork {
  faults: PeerFaults = CALM_PEERS;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly #stations = new Map<string, Station>();
  readonly #connections = new Set<Connection>();
  /** `from>to`, by machine, and since when. */
  readonly #cuts = new Map<string, number>();
  readonly #slow = new Set<number>();

  constructor(scheduler: Scheduler, random: Random) {
    this.scheduler = scheduler;
    this.random = random;
  }

  attach(station: Station): void {
    this.#stations.set(addressOf(station.machine), station);
  }

  /** The process is gone. Mostly its kernel says so; sometimes the whole machine is silent. */
  detach(station: Station): void {
    const address = addressOf(station.machine);
    if (this.#stations.get(address) === station) this.#stations.delete(address);
    const silent = this.random.chance(0.3);
    for (const connection of [...this.#connections]) connection.died(station, silent);
  }

  /** The way of `caller`'s calls. */
  openFrom(caller: Station): OpenWire {
    return (address, events) => {
      const connection = new Connection(this, caller, events);
      this.#connections.add(connection);
      connection.call(() => this.#stations.get(address));
      return connection.wire;
    };
  }

  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  isCut(from: number, to: number): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  get cuts(): ReadonlyMap<string, number> {
    return this.#cuts;
  }

  isSlow(machine: number): boolean {
    return this.#slow.has(machine);
  }

  cut(from: number, to: number): void {
    this.#cuts.set(`${from}>${to}`, this.scheduler.now);
  }

  mend(from: number, to: number): void {
    this.#cuts.delete(`${from}>${to}`);
    for (const connection of [...this.#connections]) connection.goOn();
  }

  slow(machine: number, slow: boolean): void {
    if (slow) this.#slow.add(machine);
    else this.#slow.delete(machine);
  }

  /** Breaks what is open between two machines. */
  breakOff(one: number, other: number): void {
    for (const connection of [...this.#connections]) {
      if (connection.isBetween(one, other)) connection.breakOff();
    }
  }

  heal(): void {
    this.#cuts.clear();
    this.#slow.clear();
    this.faults = CALM_PEERS;
    for (const connection of [...this.#connections]) connection.goOn();
  }
}

/** One end of a connection. */
interface End {
  readonly station: Station | undefined;
  /** It closed, heard that the other one did, or died: it gets nothing any more. */
  over: boolean;
}

class Connection {
  readonly wire: Wire;
  readonly #network: PeerNetwork;
  readonly #caller: End;
  readonly #called: { station: Station | undefined; over: boolean } = { station: undefined, over: false };
  readonly #events: WireEvents;
  #receiver: Called | undefined;
  readonly #there: Stream;
  readonly #back: Stream;

  constructor(network: PeerNetwork, caller: Station, events: WireEvents) {
    this.#network = network;
    this.#caller = { station: caller, over: false };
    this.#events = events;
    this.#there = new Stream(network, this.#caller, this.#called, (frame, ageMs) =>
      this.#receiver!.message(frame.buffer, ageMs),
    );
    this.#back = new Stream(network, this.#called, this.#caller, (frame) => events.message(frame));
    const there = this.#there;
    this.wire = {
      send: (frame) => this.#send(this.#caller, there, frame),
      get unsent() {
        return there.unsent;
      },
      close: () => this.#close(this.#caller, there, 'closed by its opener'),
    };
  }

  call(find: () => Station | undefined): void {
    const { random, scheduler, faults } = this.#network;
    const { station } = this.#caller;
    const slow = random.chance(faults.slowConnect) ? random.between(0, faults.slowConnectMsMax) : 0;
    const wait = random.delay(2 * faults.delayMs) + slow;
    const isRefused = random.chance(faults.refuse);
    scheduler.after(wait, `${station!.id} calls`, () => {
      const called = find();
      // Where the way is cut nobody ever says anything.
      if (this.#caller.over || (called !== undefined && this.#isCut(called))) return;
      if (called === undefined || isRefused) return this.#end(this.#caller, 'connection refused');
      this.#called.station = called;
      scheduler.after(
        0,
        `${called.id} is called by ${station!.id}`,
        () => this.#accept(called),
        called.domain,
      );
    });
  }

  isBetween(one: number, other: number): boolean {
    const a = this.#caller.station!.machine;
    const b = this.#called.station?.machine;
    return (a === one && b === other) || (a === other && b === one);
  }

  goOn(): void {
    this.#there.goOn();
    this.#back.goOn();
  }

  /** Both ends hear of it, each when it does; what was under way is lost or comes before. */
  breakOff(): void {
    if (this.#receiver === undefined) return;
    for (const stream of [this.#there, this.#back]) stream.end('connection reset', this.#endOf(stream));
  }

  died(station: Station, silent: boolean): void {
    const end = [this.#caller, this.#called].find((one) => one.station === station);
    if (end === undefined || end.over) return;
    const stream = end === this.#caller ? this.#there : this.#back;
    end.over = true;
    if (this.#receiver === undefined) return this.#forget();
    if (silent) stream.drop();
    else stream.end('its process is gone', this.#endOf(stream));
  }

  #isCut(called: Station): boolean {
    const { machine } = this.#caller.station!;
    return this.#network.isCut(machine, called.machine) || this.#network.isCut(called.machine, machine);
  }

  #accept(called: Station): void {
    const back = this.#back;
    this.#receiver = called.accept({
      send: (frame) => this.#send(this.#called, back, frame),
      close: (reason) => this.#close(this.#called, back, reason),
    });
    if (this.#caller.over) return this.#end(this.#called, 'its opener has gone');
    back.first(() => !this.#caller.over && this.#events.opened());
  }

  #send(end: End, stream: Stream, frame: Uint8Array): void {
    if (end.over) return;
    const { random, faults } = this.#network;
    const breaks = random.chance(faults.breakOff);
    const before = random.chance(0.5);
    if (breaks && before) return this.breakOff();
    stream.push(Uint8Array.from(frame));
    if (breaks) this.breakOff();
  }

  #close(end: End, stream: Stream, reason: string): void {
    if (end.over) return;
    end.over = true;
    if (this.#receiver !== undefined) stream.end(reason, this.#endOf(stream));
    this.#forget();
  }

  #endOf(stream: Stream): (reason: string) => void {
    return (reason) => this.#end(stream === this.#there ? this.#called : this.#caller, reason);
  }

  /** `end` hears that the connection is no more. */
  #end(end: End, reason: string): void {
    if (end.over) return;
    end.over = true;
    const run = () => (end === this.#caller ? this.#events.closed(reason) : this.#receiver!.closed());
    this.#network.scheduler.after(0, `${end.station!.id} loses a wire: ${reason}`, run, end.station!.domain);
    this.#forget();
  }

  #forget(): void {
    if (this.#caller.over && (this.#called.over || this.#receiver === undefined)) this.#network.forget(this);
  }
}

interface Item {
  readonly frame: Uint8Array<ArrayBuffer> | undefined;
  readonly run: (() => void) | undefined;
  readonly sentAt: number;
}

/** One direction. */
class Stream {
  readonly #network: PeerNetwork;
  readonly #from: End;
  readonly #to: End;
  readonly #deliver: (frame: Uint8Array<ArrayBuffer>, ageMs: number) => void;
  /** In the sender's kernel. */
  #held: Item[] = [];
  #bytes = 0;
  #arrivesAt = 0;
  #generation = 0;

  constructor(
    network: PeerNetwork,
    from: End,
    to: End,
    deliver: (frame: Uint8Array<ArrayBuffer>, ageMs: number) => void,
  ) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
    this.#deliver = deliver;
  }

  get unsent(): number {
    return Math.max(0, this.#bytes - KERNEL_BYTES);
  }

  push(frame: Uint8Array<ArrayBuffer>): void {
    this.#bytes += frame.length;
    this.#held.push({ frame, run: undefined, sentAt: this.#network.scheduler.now });
    this.goOn();
  }

  /** Something that is no frame, in the order of the frames. */
  first(run: () => void): void {
    this.#held.push({ frame: undefined, run, sentAt: this.#network.scheduler.now });
    this.goOn();
  }

  /** Nothing that is under way arrives any more. */
  drop(): void {
    this.#generation++;
    this.#held = [];
    this.#bytes = 0;
  }

  /** Behind what was sent, if that still comes. */
  end(reason: string, heard: (reason: string) => void): void {
    const { random } = this.#network;
    if (random.chance(0.5)) this.drop();
    else this.#arrivesAt = Math.max(this.#arrivesAt, this.#network.scheduler.now + this.#linger());
    this.first(() => heard(reason));
  }

  goOn(): void {
    if (this.#cut()) return;
    const held = this.#held;
    this.#held = [];
    for (const item of held) this.#carry(item);
  }

  #cut(): boolean {
    const { station: from } = this.#from;
    const { station: to } = this.#to;
    return from !== undefined && to !== undefined && this.#network.isCut(from.machine, to.machine);
  }

  #linger(): number {
    const { random } = this.#network;
    return random.chance(0.5) ? 0 : random.between(0, LINGER_MS_MAX);
  }

  #carry(item: Item): void {
    const { scheduler, random, faults } = this.#network;
    const { frame, run, sentAt } = item;
    const from = this.#from.station!;
    const to = this.#to.station!;
    const late = random.chance(faults.late) ? random.between(0, faults.lateMsMax) : 0;
    const isSlow = this.#network.isSlow(from.machine) || this.#network.isSlow(to.machine);
    const slow = isSlow ? random.between(0, SLOW_MS_MAX) : 0;
    const at = scheduler.now + random.delay(faults.delayMs) + late + slow;
    this.#arrivesAt = Math.max(this.#arrivesAt, at);
    const generation = this.#generation;
    const what = frame === undefined ? 'a sign' : `${frame.length} bytes`;
    const arrive = () => {
      if (generation !== this.#generation) return;
      if (frame === undefined) return run!();
      this.#bytes -= frame.length;
      if (!this.#to.over) this.#deliver(frame, scheduler.now - sentAt);
    };
    scheduler.after(
      this.#arrivesAt - scheduler.now,
      `${to.id} gets ${what} of ${from.id}`,
      arrive,
      to.domain,
    );
  }
}
