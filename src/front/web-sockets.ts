/**
 * The WebSockets of the process: clients at /v1/ws, other processes at /v1/peer.
 */
import type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  us_socket_context_t,
  WebSocket,
  WebSocketBehavior,
} from 'uWebSockets.js';
import { LIMITS } from '../limits.ts';
import { type Identity, NOT_VALID_ANY_MORE, OPEN, UNAUTHENTICATED } from './auth.ts';
import { BinarySocket, type SocketContext } from './binary-socket.ts';
import { Exchange } from './exchange.ts';
import type { HttpSettings } from './http.ts';
import { JsonSocket } from './json-socket.ts';
import { PEER_FRAME_BYTES_MAX } from './peer-socket.ts';
import { Backlog, Outlet } from './sending.ts';

interface Socket {
  /** A frame; its memory is the socket's for the duration of the call. */
  message(message: ArrayBuffer, isBinary: boolean): void;
  closed(): void;
}

export interface WebSocketsSettings {
  readonly http: HttpSettings;
  readonly context: SocketContext;
  /** undefined: there can be no other process. */
  readonly acceptPeer?: ((outlet: Outlet, remoteAddress: string) => Socket) | undefined;
  /** A TCP connection was taken over from HTTP. */
  onUpgrade(): void;
  failed(error: unknown): void;
}

/** What a WebSocket carries through uWS. */
interface SocketData {
  /** Of a client: its subprotocol. Of a peer: its address. */
  readonly from: string;
  /** Who a client is; of no meaning for a peer, which proves itself with its first frames. */
  readonly identity: Identity;
  socket: Socket | undefined;
  outlet: Outlet | undefined;
}

export const JSON_PROTOCOL = 'holdfast.v1.json';
export const BINARY_PROTOCOL = 'holdfast.v1.bin';

/** The least that uWS takes. */
const PEER_IDLE_SECONDS = 8;

type Refusal = (exchange: Exchange) => void;

export class WebSockets {
  /** That are open. */
  clients = 0;
  /** The same, once the handshake is through. */
  private readonly open = new Set<SocketData>();
  private peers = 0;
  private readonly settings: WebSocketsSettings;
  private readonly backlog = new Backlog();

  constructor(app: TemplatedApp, settings: WebSocketsSettings) {
    this.settings = settings;
    app.ws<SocketData>('/v1/ws', {
      ...this.behavior(),
      upgrade: (res, request, context) => this.upgrade(res, request, context),
      open: (ws) => this.opened(ws),
      close: (ws) => {
        this.clients--;
        this.open.delete(ws.getUserData());
        ws.getUserData().socket?.closed();
      },
    });
    if (settings.acceptPeer === undefined) return;
    app.ws<SocketData>('/v1/peer', {
      ...this.behavior(),
      maxPayloadLength: PEER_FRAME_BYTES_MAX,
      // Peers ping each other several times a second.
      idleTimeout: PEER_IDLE_SECONDS,
      upgrade: (res, request, context) => this.upgradePeer(res, request, context),
      open: (ws) => this.peerOpened(ws),
      close: (ws) => {
        this.peers--;
        ws.getUserData().socket?.closed();
      },
    });
  }

  /** Of clients and peers. */
  get count(): number {
    return this.clients + this.peers;
  }

  /** Closes the sockets of whose key is none any more: no event reaches them from now on. */
  closeRevoked(): void {
    for (const { identity, outlet } of this.open) {
      if (identity.revoked) outlet?.end(1008, NOT_VALID_ANY_MORE);
    }
  }

  private behavior(): WebSocketBehavior<SocketData> {
    return {
      // uWS cuts the connection beyond this; up to here the socket can say why.
      maxPayloadLength: 2 * LIMITS.frameBytesMax,
      maxBackpressure: LIMITS.socketBackpressureBytesMax,
      closeOnBackpressureLimit: 1,
      idleTimeout: LIMITS.socketIdleSecondsMax,
      sendPingsAutomatically: true,
      message: (ws, message, isBinary) => this.received(ws, message, isBinary),
      drain: (ws) => void ws.getUserData().outlet?.drained(),
    };
  }

  private upgrade(res: HttpResponse, request: HttpRequest, context: us_socket_context_t): void {
    const origin = request.getHeader('origin');
    const offered = request.getHeader('sec-websocket-protocol');
    const protocol = chooseProtocol(offered);
    const identity = this.settings.http.auth.authenticate(request.getHeader('authorization'));
    const refusal = this.refusal(origin, identity, request.getQuery() ?? '', protocol);
    if (refusal !== undefined || identity === UNAUTHENTICATED) {
      refusal?.(new Exchange(this.settings.http, res, request));
      return;
    }
    this.clients++;
    this.settings.onUpgrade();
    const from = protocol ?? JSON_PROTOCOL;
    const data = { from, identity, socket: undefined, outlet: undefined };
    accept(res, request, context, data, offered === '' ? '' : from);
  }

  private refusal(
    origin: string,
    identity: Identity | typeof UNAUTHENTICATED,
    query: string,
    protocol: string | undefined,
  ): Refusal | undefined {
    const { http } = this.settings;
    if (origin !== '' && !http.originAllowed(origin)) {
      return (exchange) => exchange.fault('forbidden', 'This origin is not allowed.');
    }
    if (identity === UNAUTHENTICATED) return (exchange) => exchange.unauthenticated();
    if (query !== '')
      return (exchange) => exchange.malformed([{ pointer: 'query', detail: 'no parameters here' }]);
    if (protocol === undefined) {
      const detail = `one of ${JSON_PROTOCOL}, ${BINARY_PROTOCOL}, or none`;
      return (exchange) => exchange.malformed([{ pointer: 'header/Sec-WebSocket-Protocol', detail }]);
    }
    if (http.isDraining()) return (exchange) => exchange.fault('draining');
    return undefined;
  }

  /** Processes have no origin: what has one is a web page. */
  private upgradePeer(res: HttpResponse, request: HttpRequest, context: us_socket_context_t): void {
    if (request.getHeader('origin') !== '') {
      new Exchange(this.settings.http, res, request).fault('forbidden', 'This path is for other processes.');
      return;
    }
    this.peers++;
    this.settings.onUpgrade();
    const from = Buffer.from(res.getRemoteAddressAsText()).toString('latin1');
    accept(res, request, context, { from, identity: OPEN, socket: undefined, outlet: undefined }, '');
  }

  private opened(ws: WebSocket<SocketData>): void {
    const data = ws.getUserData();
    data.outlet = new Outlet(ws, this.backlog);
    const Socket = data.from === BINARY_PROTOCOL ? BinarySocket : JsonSocket;
    data.socket = new Socket(this.settings.context, data.outlet, data.identity);
    this.open.add(data);
  }

  private peerOpened(ws: WebSocket<SocketData>): void {
    const data = ws.getUserData();
    data.outlet = new Outlet(ws, this.backlog);
    data.socket = this.settings.acceptPeer!(data.outlet, data.from);
  }

  private received(ws: WebSocket<SocketData>, message: ArrayBuffer, isBinary: boolean): void {
    const { socket, outlet } = ws.getUserData();
    try {
      socket?.message(message, isBinary);
    } catch (error) {
      this.settings.failed(error);
      outlet?.end(1011, 'a defect in Holdfast');
    }
  }
}

function accept(
  res: HttpResponse,
  request: HttpRequest,
  context: us_socket_context_t,
  data: SocketData,
  protocol: string,
): void {
  const key = request.getHeader('sec-websocket-key');
  res.upgrade(data, key, protocol, request.getHeader('sec-websocket-extensions'), context);
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
