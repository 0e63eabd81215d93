/**
 * The front: the process's sockets, on the main thread (uWebSockets.js). It
 * reads requests, hands ops to routing, and gives each answer to the connection
 * that waits for it. No I/O but sockets.
 *
 *   created ─► listening ─► draining ─► closed
 *
 * draining: new work is refused with `draining`, what is in flight is answered,
 * then WebSockets are closed with 1012 and the rest is cut.
 */
import { randomBytes } from 'node:crypto';
// A CommonJS module: Node sees only its default export.
import uws, {
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  type us_listen_socket,
  type us_socket_context_t,
  type WebSocket,
} from 'uWebSockets.js';
import type { Routing } from '../batch/routing.ts';
import type { Clock, Timer } from '../clock.ts';
import type { ShardSettings } from '../config/shards.ts';
import type { Buffers } from '../lane/buffers.ts';
import type { LaneMessage, ProcessIdentity } from '../lane/messages.ts';
import { LIMITS } from '../limits.ts';
import { BinarySocket } from './binary-socket.ts';
import { ClusterView } from './cluster.ts';
import { Connections } from './connections.ts';
import { Exchange } from './exchange.ts';
import { Http, type HttpSettings } from './http.ts';
import { JsonSocket } from './json-socket.ts';
import { Backlog, Outlet } from './sending.ts';

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
}

/** What a WebSocket carries through uWS. */
export interface SocketData {
  readonly protocol: string;
  socket: BinarySocket | JsonSocket | undefined;
  outlet: Outlet | undefined;
}

export const JSON_PROTOCOL = 'holdfast.v1.json';
export const BINARY_PROTOCOL = 'holdfast.v1.bin';

/** The lane answers within the time-out; what is later than this beyond it was left by a wedged lane. */
const WEDGED_MS = 1_000;
/** uWS's LIBUS_LISTEN_EXCLUSIVE_PORT: without it two processes would share the port unawares. */
const EXCLUSIVE_PORT = 1;
const SWEEP_MS_MAX = 100;
const CONNECTION_SWEEP_EVERY = 5;

export class Front {
  readonly connections = new Connections();
  readonly cluster: ClusterView;
  private readonly dependencies: FrontDependencies;
  private readonly app: TemplatedApp = uws.App();
  private readonly http: Http;
  private readonly httpSettings: HttpSettings;
  private readonly backlog = new Backlog();
  private listening: us_listen_socket | undefined;
  private draining = false;
  private timer: Timer | undefined;
  private sweeps = 0;
  /** TCP connections that speak HTTP, and WebSockets. */
  private httpSockets = 0;
  private webSockets = 0;
  private readonly requestIdPrefix = randomBytes(6).toString('base64url');
  private requestIds = 0;

  constructor(dependencies: FrontDependencies) {
    const { identity, shards, lanes, routing, clock, settings, metrics, log } = dependencies;
    this.dependencies = dependencies;
    this.cluster = new ClusterView(identity, shards, lanes, routing);
    routing.answerWith(this.connections);
    this.httpSettings = {
      connections: this.connections,
      routing,
      clock,
      lanes,
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
    this.registerWebSockets();
    this.app.any('/*', (res, request) => this.http.handle(res, request));
  }

  /** WebSockets that are open. */
  get sockets(): number {
    return this.webSockets;
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

  /** Refuses new work; resolves when nothing is in flight any more, at the latest after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    const { clock } = this.dependencies;
    this.draining = true;
    this.stopListening();
    const until = clock.now() + timeoutMs;
    while (this.connections.open > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => {
        clock.after(10, resolve);
      });
    }
  }

  /** Ends everything: WebSockets get 1012, open HTTP requests their last answer. */
  close(): void {
    this.draining = true;
    this.timer?.cancel();
    this.stopListening();
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

  private registerWebSockets(): void {
    this.app.ws<SocketData>('/v1/ws', {
      // uWS cuts the connection beyond this; up to here the socket can say why.
      maxPayloadLength: 2 * LIMITS.frameBytesMax,
      maxBackpressure: LIMITS.socketBackpressureBytesMax,
      closeOnBackpressureLimit: 1,
      idleTimeout: LIMITS.socketIdleSecondsMax,
      sendPingsAutomatically: true,
      upgrade: (res, request, context) => this.upgrade(res, request, context),
      open: (ws) => this.opened(ws),
      message: (ws, message, isBinary) => this.received(ws, message, isBinary),
      drain: (ws) => void ws.getUserData().outlet?.drained(),
      close: (ws) => this.closed(ws),
    });
  }

  private upgrade(res: HttpResponse, request: HttpRequest, context: us_socket_context_t): void {
    const origin = request.getHeader('origin');
    const offered = request.getHeader('sec-websocket-protocol');
    const protocol = chooseProtocol(offered);
    const refusal = this.upgradeRefusal(origin, request.getQuery() ?? '', protocol);
    if (refusal !== undefined) {
      refusal(new Exchange(this.httpSettings, res, request));
      return;
    }
    // The TCP connection goes over from HTTP, and uWS does not tell its filter.
    this.httpSockets--;
    this.webSockets++;
    const data: SocketData = { protocol: protocol ?? JSON_PROTOCOL, socket: undefined, outlet: undefined };
    const key = request.getHeader('sec-websocket-key');
    res.upgrade(
      data,
      key,
      offered === '' ? '' : data.protocol,
      request.getHeader('sec-websocket-extensions'),
      context,
    );
  }

  private upgradeRefusal(
    origin: string,
    query: string,
    protocol: string | undefined,
  ): ((exchange: Exchange) => void) | undefined {
    if (origin !== '' && !this.httpSettings.originAllowed(origin)) {
      return (exchange) => exchange.fault('forbidden', 'This origin is not allowed.');
    }
    if (query !== '')
      return (exchange) => exchange.malformed([{ pointer: 'query', detail: 'no parameters here' }]);
    if (protocol === undefined) {
      const detail = `one of ${JSON_PROTOCOL}, ${BINARY_PROTOCOL}, or none`;
      return (exchange) => exchange.malformed([{ pointer: 'header/Sec-WebSocket-Protocol', detail }]);
    }
    if (this.draining) return (exchange) => exchange.fault('draining');
    return undefined;
  }

  private opened(ws: WebSocket<SocketData>): void {
    const data = ws.getUserData();
    const { routing, clock, settings } = this.dependencies;
    const context = {
      connections: this.connections,
      routing,
      clock,
      requestTimeoutMs: settings.requestTimeoutMs,
      isDraining: this.httpSettings.isDraining,
    };
    data.outlet = new Outlet(ws, this.backlog);
    const Socket = data.protocol === BINARY_PROTOCOL ? BinarySocket : JsonSocket;
    data.socket = new Socket(context, data.outlet);
  }

  private received(ws: WebSocket<SocketData>, message: ArrayBuffer, isBinary: boolean): void {
    const { socket, outlet } = ws.getUserData();
    try {
      socket?.message(message, isBinary);
    } catch (error) {
      this.dependencies.log.error({ err: error }, 'a frame met a defect');
      outlet?.end(1011, 'a defect in Holdfast');
    }
  }

  private closed(ws: WebSocket<SocketData>): void {
    this.webSockets--;
    ws.getUserData().socket?.closed();
  }

  /** `change` is positive for a new TCP connection, negative for one that ended. */
  private connected(res: HttpResponse, change: number): void {
    if (change < 0) {
      this.httpSockets--;
      return;
    }
    this.httpSockets++;
    if (this.httpSockets + this.webSockets <= LIMITS.socketsMax) return;
    if (this.httpSockets + this.webSockets === LIMITS.socketsMax + 1) {
      this.dependencies.log.warn({ socketsMax: LIMITS.socketsMax }, 'too many sockets: new ones are closed');
    }
    res.close();
  }

  private sweepLater(): void {
    const { clock, routing, settings } = this.dependencies;
    const everyMs = Math.min(SWEEP_MS_MAX, settings.requestTimeoutMs / 4);
    this.timer = clock.after(everyMs, () => {
      const now = clock.now();
      routing.sweep(now);
      if (this.sweeps++ % CONNECTION_SWEEP_EVERY === 0) {
        this.connections.sweep(now, now - settings.requestTimeoutMs - WEDGED_MS);
      }
      this.sweepLater();
    });
  }
}

/** The first offered one that is known; JSON when none is offered; undefined when none of them is known. */
function chooseProtocol(offered: string): string | undefined {
  if (offered === '') return JSON_PROTOCOL;
  const known = [JSON_PROTOCOL, BINARY_PROTOCOL];
  return offered
    .split(',')
    .map((protocol) => protocol.trim())
    .find((protocol) => known.includes(protocol));
}
