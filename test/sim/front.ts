/**
 * A process's front as the simulation needs it: the real routing, collector,
 * connections, links and reachability, wired as in src/front/front.ts, with
 * sockets that the model network carries in place of uWebSockets.
 */
import { Collector } from '../../src/batch/collector.ts';
import { Routing } from '../../src/batch/routing.ts';
import type { Clock, Timer } from '../../src/clock.ts';
import { Connections } from '../../src/front/connections.ts';
import { createCoordinators } from '../../src/front/coordinators.ts';
import { Demand } from '../../src/front/demand.ts';
import { InboundPeers, type PeerContext, PeerSocket } from '../../src/front/peer-socket.ts';
import { Reachability } from '../../src/front/reachability.ts';
import { Buffers } from '../../src/lane/buffers.ts';
import type { LaneMessage } from '../../src/lane/messages.ts';
import { LIMITS } from '../../src/limits.ts';
import { Peers } from '../../src/peers/peers.ts';
import type { OpenWire } from '../../src/peers/wire.ts';
import type { HashKey } from '../../src/slots/hash.ts';
import { ClientConnection, type ConnectionHost } from './client-connection.ts';
import { ForwardAudit } from './forward-audit.ts';
import type { Called, CalledWire } from './peer-network.ts';
import type { Random } from './random.ts';

export interface FrontSettings {
  /** Id of the process. */
  readonly process: string;
  readonly cluster: string;
  readonly hashKey: HashKey;
  readonly slots: number;
  readonly shards: readonly string[];
  readonly lanes: number;
  readonly requestTimeoutMs: number;
  /** Clocks of all processes only drift: how old a frame is can be told. */
  readonly honestClocks: boolean;
}

/** What the front needs of the process around it. */
export interface FrontHost {
  /** Timers run in the front's thread. */
  readonly clock: Clock;
  readonly random: Random;
  readonly open: OpenWire;
  /** Runs it at the end of the event-loop turn. */
  defer(run: () => void): void;
  /** Hands a sealed batch to a lane's thread. */
  submit(lane: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void): void;
  /** Nobody is at this connection any more. */
  gone(connection: number): void;
  want(slots: Uint16Array): void;
  reach(reachable: boolean): void;
  /** The earliest moment from which a late answer can be held against anybody: after pauses. */
  undisturbedSince(): number;
  note(text: string): void;
  complain(text: string): void;
}

type Coordinated = ReturnType<typeof createCoordinators>;

/** As in src/front/front.ts. */
const WEDGED_MS = 1_000;
const SWEEP_MS = 100;
const CONNECTION_SWEEP_EVERY = 5;
/** More than two addresses of a model network need. */
const CLUSTER_KEY = Uint8Array.from({ length: 32 }, (_, i) => i);
/** Rounding, and clocks that drift apart by 500 ppm between two pings. */
const AGE_SLACK_MS = 5;

export class Front implements ConnectionHost {
  readonly connections: Connections;
  readonly audit: ForwardAudit;
  readonly requestTimeoutMs: number;
  readonly honestClocks: boolean;
  draining = false;
  /** How often it looked after everything: it gets on. */
  sweeps = 0;
  readonly #settings: FrontSettings;
  readonly #host: FrontHost;
  readonly #routing: Routing;
  readonly coordinators: Coordinated;
  readonly #buffers = new Buffers();
  readonly #peers: Peers;
  readonly #inbound = new InboundPeers();
  readonly #reachability: Reachability;
  readonly #demand: Demand;
  readonly #clients: ClientConnection[] = [];
  #timer: Timer | undefined;
  /** Of the frame of another process that is being read. */
  #frameAgeMs = 0;

  constructor(settings: FrontSettings, host: FrontHost) {
    this.#settings = settings;
    this.#host = host;
    this.requestTimeoutMs = settings.requestTimeoutMs;
    this.honestClocks = settings.honestClocks;
    this.audit = new ForwardAudit((text) => host.complain(text));
    const defer = (run: () => void) => host.defer(run);
    this.connections = new Connections(defer);
    const gate = {
      send: (lane: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void) =>
        host.submit(lane, buffer, length, seen, taken),
      gone: (connection: number) => host.gone(connection),
    };
    const { slots, hashKey, shards, process, requestTimeoutMs, lanes } = settings;
    const { clock } = host;
    this.#routing = new Routing(new Collector(lanes, gate, this.#buffers, defer), {
      slots,
      hashKey,
      shards,
      requestTimeoutMs,
      process,
      clock,
    });
    this.#demand = new Demand(slots, (all) => host.want(all));
    this.#routing.tellWanted((wanted) => {
      this.#demand.update(process, wanted);
      this.#peers.want(wanted);
    });
    this.#routing.answerWith(this.connections);
    const { connections } = this;
    this.coordinators = createCoordinators({ connections, routing: this.#routing, clock, requestTimeoutMs });
    this.#peers = this.#links(defer);
    this.#reachability = new Reachability((reachable) => {
      host.note(`${process} is ${reachable ? 'reached again' : 'not reached'}`);
      host.reach(reachable);
    });
    this.#sweepLater();
  }

  now(): number {
    return this.#host.clock.now();
  }

  undisturbedSince(): number {
    return this.#host.undisturbedSince();
  }

  complain(text: string): void {
    this.#host.complain(text);
  }

  forwardedAt(connection: number, id: number): number | undefined {
    return this.audit.forwardedAt(connection, id);
  }

  submit(op: Parameters<Routing['submit']>[0]): void {
    this.#routing.submit(op);
  }

  get standing(): Coordinated['standing'] {
    return this.coordinators.standing;
  }

  get ownedSlots(): number {
    return this.#routing.ownedCount;
  }

  /** Ops of clients without an answer. */
  get unanswered(): readonly string[] {
    return this.#clients.flatMap((client) => client.unanswered);
  }

  /** Forwards without an answer. */
  get underWay(): number {
    return this.#peers.report().reduce((sum, { open }) => sum + open, 0);
  }

  /** A client connects. */
  connect(): ClientConnection {
    const client = new ClientConnection(this);
    this.#clients.push(client);
    return client;
  }

  /** What a lane says. */
  hear(lane: number, message: LaneMessage): void {
    const routing = this.#routing;
    switch (message.kind) {
      case 'answers':
        this.connections.answers(message.buffer, message.length);
        this.#buffers.give(message.buffer);
        for (const buffer of message.spare) this.#buffers.give(buffer);
        return;
      case 'owned':
      case 'lost':
        return routing.ownership(lane, message);
      case 'settled':
        return routing.settled(lane, message);
      case 'terms':
        routing.terms(message);
        return this.#peers.update(this.#others());
      case 'owners':
        return routing.owners(message);
      case 'bounced':
        return routing.bounced(message.buffer, message.length, this.now());
      case 'shard':
        return routing.shardDown(message.shard, !message.up);
      case 'log':
        if (message.level !== 'error') return;
        return this.complain(`log: ${message.message} ${JSON.stringify(message.fields)}`);
    }
  }

  /** Another process calls. */
  accept(wire: CalledWire): Called {
    let open = true;
    const close = (reason: string) => {
      if (!open) return;
      open = false;
      wire.close(reason);
      // uWS says so at once.
      socket.closed();
    };
    const outlet = {
      send: (message: Uint8Array) => open && wire.send(message),
      end: (code: number, reason: string) => {
        this.#judgeEnd(code, reason);
        close(`${code} ${reason}`);
      },
      cut: () => close('cut'),
      gone: () => void (open = false),
    };
    const socket = new PeerSocket(this.#peerContext(), outlet, '10.0.0.99');
    return {
      message: (frame, ageMs) => {
        if (!open) return;
        this.#frameAgeMs = ageMs;
        socket.message(frame, true);
      },
      closed: () => open && socket.closed(),
    };
  }

  /** SIGTERM: clients are refused, what other processes forward is still taken. */
  refuseClients(): void {
    this.draining = true;
    this.standing.drain();
  }

  /** Resolves when nothing is in flight any more, at the latest after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    const { clock } = this.#host;
    this.#routing.refuseForwarded();
    const until = clock.now() + timeoutMs;
    while (this.connections.open > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.after(10, resolve));
    }
  }

  close(): void {
    this.#peers.close();
    this.#timer?.cancel();
    this.connections.shutDown();
  }

  #links(defer: (run: () => void) => void): Peers {
    const { random, clock, open, note } = this.#host;
    const { process, requestTimeoutMs } = this.#settings;
    const routing = this.#routing;
    const peers = new Peers({
      identity: this.#identity(),
      requestTimeoutMs,
      clock,
      open: this.audit.watch(open),
      routing: {
        forwardDone: (slot) => routing.forwardDone(slot),
        returned: (op) => {
          this.audit.returned(op);
          routing.returned(op);
        },
        linkUp: (peer) => routing.linkUp(peer),
      },
      deliver: (connection, source, at, end) => this.connections.deliver(connection, source, at, end),
      defer,
      random: () => random.next(),
      randomBytes: (bytes) => this.#randomBytes(bytes),
      log: {
        info: (fields, message) => note(`${process}: ${message} ${JSON.stringify(fields)}`),
        warn: (fields, message) => note(`${process}: ${message} ${JSON.stringify(fields)}`),
      },
    });
    routing.forwardTo({
      forward: (term, op) => {
        const outcome = peers.forward(term, op);
        if (outcome === 'taken') this.audit.took(op, this.now());
        return outcome;
      },
      abandon: (to, slots) => peers.abandon(to, slots),
      endStanding: (to, slots) => peers.endStanding(to, slots),
    });
    return peers;
  }

  #identity(): PeerContext['identity'] {
    const { cluster, process } = this.#settings;
    return { cluster, process, key: CLUSTER_KEY };
  }

  #randomBytes(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#host.random.below(256);
  }

  #peerContext(): PeerContext {
    const { clock, note } = this.#host;
    const { process, slots, requestTimeoutMs, honestClocks } = this.#settings;
    const routing = this.#routing;
    const { connections, audit } = this;
    return {
      connections: {
        get open() {
          return connections.open;
        },
        set open(open) {
          connections.open = open;
        },
        add: (connection) => {
          const number = connections.add(connection);
          audit.peerConnection(number);
          return number;
        },
        remove: (number) => connections.remove(number),
        full: (more) => connections.full(more),
        flushLater: (connection) => connections.flushLater(connection),
      },
      routing: {
        slots,
        connectionGone: (connection) => routing.connectionGone(connection),
        submitForwarded: (op, term) => {
          const ageMsMax = Math.min(LIMITS.peerSilenceMs, requestTimeoutMs / 2) + AGE_SLACK_MS;
          audit.offered(op.connection, op.id, this.#frameAgeMs, honestClocks ? ageMsMax : Infinity);
          return routing.submitForwarded(op, term);
        },
      },
      clock,
      requestTimeoutMs,
      identity: this.#identity(),
      randomBytes: (bytes) => this.#randomBytes(bytes),
      peers: this.#inbound,
      peerWants: (peer, wanted) => this.#demand.update(peer, wanted),
      log: { warn: (fields, message) => note(`${process}: ${message} ${JSON.stringify(fields)}`) },
    };
  }

  /** Between processes of one version frames are sound, and no op stays without an answer. */
  #judgeEnd(code: number, reason: string): void {
    const wedged = code === 1011 && this.now() - this.undisturbedSince() > this.requestTimeoutMs + WEDGED_MS;
    if (wedged || code === 1003 || code === 1007 || code === 1009) {
      this.complain(`the socket of a peer was ended with ${code}, no answer or no sense: ${reason}`);
    }
  }

  /** The other living processes. */
  #others(): { id: string; address: string }[] {
    const others = new Map<string, string>();
    for (const { info } of this.#routing.map.living()) {
      if (info.process !== this.#settings.process) others.set(info.process, info.address);
    }
    return Array.from(others, ([id, address]) => ({ id, address }));
  }

  #sweepLater(): void {
    this.#timer = this.#host.clock.after(SWEEP_MS, () => {
      const now = this.now();
      this.#routing.sweep(now);
      this.#peers.sweep(now);
      const others = this.#others();
      const heard = this.#inbound.heardSince(now - LIMITS.peerSilenceMs);
      this.#reachability.update(others.length, others.filter(({ id }) => heard.includes(id)).length, now);
      if (this.sweeps++ % CONNECTION_SWEEP_EVERY === 0) {
        this.connections.sweep(now, now - this.requestTimeoutMs - WEDGED_MS);
      }
      this.#sweepLater();
    });
  }
}
