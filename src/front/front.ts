/**
 * The front: the process's sockets, on the main thread (uWebSockets.js). It
 * reads requests, hands ops to routing, and gives each answer to the connection
 * that waits for it. No I/O but sockets.
 *
 *   created ─► listening ─► draining ─► closed
 *
 * draining: new work is refused with `draining`, and who waits is told the same;
 * what is in flight is answered, then WebSockets are closed with 1012 and the rest is cut.
 */
import { randomBytes } from 'node:crypto';
// A CommonJS module: Node sees only its default export.
import uws, { type HttpResponse, type TemplatedApp, type us_listen_socket } from 'uWebSockets.js';
import type { Routing } from '../batch/routing.ts';
import type { Clock, Timer } from '../clock.ts';
import type { KeyEntry } from '../config/keys.ts';
import type { ShardSettings } from '../config/shards.ts';
import type { Buffers } from '../lane/buffers.ts';
import type { LaneMessage, ProcessIdentity } from '../lane/messages.ts';
import { LIMITS } from '../limits.ts';
import type { PeerIdentity, RandomBytes } from '../peers/handshake.ts';
import type { Peers } from '../peers/peers.ts';
import type { KeyedTokens } from '../protocol/keyed-token.ts';
import type { Authenticator, KeyChanges } from './auth.ts';
import type { SocketContext } from './binary-socket.ts';
import { ClusterView } from './cluster.ts';
import { Connections } from './connections.ts';
import { createCoordinators } from './coordinators.ts';
import { Http, type HttpSettings } from './http.ts';
import { InboundPeers, PeerSocket } from './peer-socket.ts';
import { Reachability } from './reachability.ts';
import { WebSockets } from './web-sockets.ts';

export interface FrontSettings {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly requestTimeoutMs: number;
  /** Origins that browsers may send requests from; `*` = all. */
  readonly allowOrigins: readonly string[];
}

export interface FrontLog {
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface FrontDependencies {
  readonly settings: FrontSettings;
  readonly auth: Authenticator;
  /** Makes lock tokens of Idempotency-Keys. */
  readonly keyedTokens: KeyedTokens;
  readonly routing: Routing;
  readonly lanes: number;
  readonly clock: Clock;
  /** Gets the buffers of answers when they have left. */
  readonly buffers: Buffers;
  readonly identity: ProcessIdentity;
  readonly shards: readonly ShardSettings[];
  /** The Prometheus text. */
  readonly metrics: () => Promise<string>;
  readonly log: FrontLog;
  /** Other processes, if there can be any. */
  readonly network?: FrontNetwork;
}

/** What the front has to do with other processes. */
export interface FrontNetwork {
  readonly links: Pick<Peers, 'update' | 'sweep' | 'report'>;
  readonly identity: PeerIdentity;
  readonly randomBytes: RandomBytes;
  /** Whether enough of them reach this one; told when that changes. */
  reach(reachable: boolean): void;
  /** For which slots requests of another process wait. */
  peerWants(process: string, slots: Uint16Array): void;
}

/** The lane answers within the time-out; what is later than this beyond it was left by a wedged lane. */
const WEDGED_MS = 1_000;
/** uWS's LIBUS_LISTEN_EXCLUSIVE_PORT: without it two processes would share the port unawares. */
const EXCLUSIVE_PORT = 1;
const SWEEP_MS_MAX = 100;
const CONNECTION_SWEEP_EVERY = 5;

export class Front {
  readonly connections = new Connections();
  private readonly coordinators: ReturnType<typeof createCoordinators>;
  readonly cluster: ClusterView;
  private readonly dependencies: FrontDependencies;
  private readonly app: TemplatedApp = uws.App();
  private readonly http: Http;
  private readonly httpSettings: HttpSettings;
  private readonly webSockets: WebSockets;
  private readonly inbound = new InboundPeers();
  private readonly reachability: Reachability;
  private listening: us_listen_socket | undefined;
  private draining = false;
  private timer: Timer | undefined;
  private sweeps = 0;
  /** TCP connections that speak HTTP. */
  private httpSockets = 0;
  private readonly requestIdPrefix = randomBytes(6).toString('base64url');
  private requestIds = 0;

  constructor(dependencies: FrontDependencies) {
    const { identity, auth, shards, lanes, routing, clock, settings, metrics, log, network } = dependencies;
    this.dependencies = dependencies;
    this.cluster = new ClusterView(identity, shards, lanes, routing, () => network?.links.report() ?? []);
    this.reachability = new Reachability((reachable) => {
      log.warn(
        { reachable },
        reachable ? 'other processes reach this one again' : 'most other processes do not reach this one',
      );
      network?.reach(reachable);
    });
    routing.answerWith(this.connections);
    const { connections } = this;
    const { requestTimeoutMs } = settings;
    this.coordinators = createCoordinators({ connections, routing, clock, requestTimeoutMs });
    this.httpSettings = {
      connections: this.connections,
      routing,
      clock,
      coordinators: this.coordinators,
      keyedTokens: dependencies.keyedTokens,
      auth,
      cluster: this.cluster,
      version: identity.version,
      metrics,
      newRequestId: () => `${this.requestIdPrefix}-${(this.requestIds++).toString(36)}`,
      isDraining: () => this.draining,
      originAllowed: (origin) =>
        settings.allowOrigins.includes(origin) || settings.allowOrigins.includes('*'),
      failed: (error, requestId) => log.error({ err: error, requestId }, 'a request met a defect'),
    };
    this.http = new Http(this.httpSettings);
    this.app.filter((res, change) => this.connected(res, Number(change)));
    this.webSockets = this.openWebSockets();
    this.app.any('/*', (res, request) => this.http.handle(res, request));
  }

  /** WebSockets of clients that are open. */
  get sockets(): number {
    return this.webSockets.clients;
  }

  /** Resolves with the port. Rejects when it can't be had. */
  listen(): Promise<number> {
    const { host, port } = this.dependencies.settings;
    return new Promise((resolve, reject) => {
      const listened = (socket: us_listen_socket | false): void => {
        if (socket === false) return reject(new Error(`cannot listen on ${host}:${port}`));
        this.listening = socket;
        this.sweepLater();
        resolve(uws.us_socket_local_port(socket));
      };
      // The typings leave out the form with host and options.
      const { app } = this;
      Reflect.apply(app.listen, app, [host, port, EXCLUSIVE_PORT, listened]);
    });
  }

  /** From now on these are the API keys; sockets of those that are gone or changed are closed. */
  replaceKeys(entries: readonly KeyEntry[]): KeyChanges {
    const changes = this.dependencies.auth.replace(entries);
    this.webSockets.closeRevoked();
    return changes;
  }

  /** A message of a lane; logs are the caller's. */
  laneMessage(lane: number, message: LaneMessage): void {
    try {
      this.take(lane, message);
    } catch (error) {
      this.dependencies.log.error(
        { err: error, lane, kind: message.kind },
        'a message of a lane met a defect',
      );
    }
  }

  /** Refuses what clients send from now on, and lets nobody in. What other processes forward is still taken. */
  refuseClients(): void {
    this.draining = true;
    this.stopListening();
    this.coordinators.standing.drain();
  }

  /** Refuses new work; resolves when nothing is in flight any more, at the latest after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    const { clock, routing } = this.dependencies;
    this.refuseClients();
    routing.refuseForwarded();
    const until = clock.now() + timeoutMs;
    while (this.connections.open > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => {
        clock.after(10, resolve);
      });
    }
  }

  /** Ends everything: WebSockets get 1012, open HTTP requests their last answer. */
  close(): void {
    this.refuseClients();
    this.timer?.cancel();
    this.connections.shutDown();
    this.app.close();
  }

  private take(lane: number, message: LaneMessage): void {
    const { routing, clock } = this.dependencies;
    switch (message.kind) {
      case 'answers':
        this.connections.answers(message.buffer, message.length);
        this.dependencies.buffers.give(message.buffer);
        for (const buffer of message.spare) this.dependencies.buffers.give(buffer);
        return;
      case 'owned':
      case 'lost':
        return routing.ownership(lane, message);
      case 'settled':
        return routing.settled(lane, message);
      case 'terms':
        routing.terms(message);
        return this.dependencies.network?.links.update(this.others());
      case 'owners':
        return routing.owners(message);
      case 'bounced':
        return routing.bounced(message.buffer, message.length, clock.now());
      case 'shard':
        return this.cluster.shardState(lane, message);
      default:
        return;
    }
  }

  private stopListening(): void {
    if (this.listening !== undefined) uws.us_listen_socket_close(this.listening);
    this.listening = undefined;
  }

  /** The other living processes. */
  private others(): { id: string; address: string }[] {
    const { routing, identity } = this.dependencies;
    const others = new Map<string, string>();
    for (const { info } of routing.map.living()) {
      if (info.process !== identity.id) others.set(info.process, info.address);
    }
    return Array.from(others, ([id, address]) => ({ id, address }));
  }

  private openWebSockets(): WebSockets {
    const { routing, clock, settings, log, network } = this.dependencies;
    const context: SocketContext = {
      connections: this.connections,
      routing,
      clock,
      requestTimeoutMs: settings.requestTimeoutMs,
      coordinators: this.coordinators,
      keyedTokens: this.dependencies.keyedTokens,
      isDraining: this.httpSettings.isDraining,
    };
    return new WebSockets(this.app, {
      http: this.httpSettings,
      context,
      acceptPeer:
        network &&
        ((outlet, address) =>
          new PeerSocket({ ...context, ...network, peers: this.inbound, log }, outlet, address)),
      // uWS does not tell its filter that the connection is none of HTTP's any more.
      onUpgrade: () => void this.httpSockets--,
      failed: (error) => log.error({ err: error }, 'a frame met a defect'),
    });
  }

  /** `change` is positive for a new TCP connection, negative for one that ended. */
  private connected(res: HttpResponse, change: number): void {
    if (change < 0) {
      this.httpSockets--;
      return;
    }
    this.httpSockets++;
    const sockets = this.httpSockets + this.webSockets.count;
    if (sockets <= LIMITS.socketsMax) return;
    if (sockets === LIMITS.socketsMax + 1) {
      this.dependencies.log.warn({ socketsMax: LIMITS.socketsMax }, 'too many sockets: new ones are closed');
    }
    res.close();
  }

  private sweepLater(): void {
    const { auth, clock, routing, settings, network } = this.dependencies;
    const everyMs = Math.min(SWEEP_MS_MAX, settings.requestTimeoutMs / 4);
    this.timer = clock.after(everyMs, () => {
      const now = clock.now();
      routing.sweep(now);
      if (network !== undefined) {
        network.links.sweep(now);
        this.updateReachability(now);
      }
      if (this.sweeps++ % CONNECTION_SWEEP_EVERY === 0) {
        this.connections.sweep(now, now - settings.requestTimeoutMs - WEDGED_MS);
        if (auth.expire()) this.webSockets.closeRevoked();
      }
      this.sweepLater();
    });
  }

  private updateReachability(now: number): void {
    const others = this.others();
    const linked = this.inbound.heardSince(now - LIMITS.peerSilenceMs);
    this.reachability.update(others.length, others.filter(({ id }) => linked.includes(id)).length, now);
  }
}
