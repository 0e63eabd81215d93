/**
 * HTTP: from the request line to what answers it (API.md, HTTP).
 *
 * One lookup by path and then by method, so that a path that exists under
 * another method is 405 with `Allow`, and everything else 404.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { LIMITS } from '../limits.ts';
import { Kind } from '../op.ts';
import { openApiText } from '../protocol/openapi.ts';
import { type Authenticator, UNAUTHENTICATED } from './auth.ts';
import type { ClusterView } from './cluster.ts';
import { Exchange, type ExchangeContext } from './exchange.ts';
import { submitBatch } from './http-batch.ts';
import { type HttpContext, type OneRequest, submitOne } from './http-ops.ts';
import { submitListing } from './listing.ts';
import { percentDecode, readQuery } from './target.ts';

export interface HttpSettings extends HttpContext, ExchangeContext {
  readonly auth: Authenticator;
  readonly cluster: ClusterView;
  readonly version: string;
  readonly metrics: () => Promise<string>;
  originAllowed(origin: string): boolean;
  failed(error: unknown, requestId: string): void;
}

type Handler = (exchange: Exchange, request: HttpRequest) => void;
type Methods = Readonly<Record<string, Handler>>;

const LOCKS = '/v1/locks/';
const SESSIONS = '/v1/sessions/';
const VERIFY = '/verify';
/** For whoever watches the process: they need no key. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz']);
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
const TOKEN_HEADER = 'holdfast-lock-token';
const IDEMPOTENCY_HEADER = 'idempotency-key';
const FORCE_PARAMETERS = ['force', 'reason', 'fencingToken'];

export class Http {
  private readonly settings: HttpSettings;
  private readonly paths: ReadonlyMap<string, Methods>;
  private readonly lock: Methods;
  private readonly verify: Methods;
  private readonly session: Methods;

  constructor(settings: HttpSettings) {
    this.settings = settings;
    this.paths = new Map<string, Methods>([
      ['/v1/locks', { GET: (exchange) => this.list(exchange) }],
      ['/v1/sessions', { POST: (exchange) => this.one(exchange, { kind: Kind.sessionOpen }) }],
      ['/v1/batch', { POST: (exchange) => this.batch(exchange) }],
      ['/v1/cluster', { GET: plain((exchange) => this.cluster(exchange)) }],
      ['/v1/ws', { GET: plain((exchange) => noUpgrade(exchange)) }],
      ['/healthz', { GET: plain((exchange) => exchange.json(200, '{"alive":true}')) }],
      ['/readyz', { GET: plain((exchange) => this.ready(exchange)) }],
      ['/metrics', { GET: plain((exchange) => this.metrics(exchange)) }],
      ['/openapi.json', { GET: plain((exchange) => exchange.json(200, openApiText(settings.version))) }],
    ]);
    this.lock = {
      GET: (exchange) => this.get(exchange),
      POST: (exchange, request) =>
        this.ofLock(exchange, {
          kind: Kind.acquire,
          idempotencyKey: request.getHeader(IDEMPOTENCY_HEADER),
        }),
      PUT: (exchange, request) =>
        this.ofLock(exchange, { kind: Kind.renew, lockToken: request.getHeader(TOKEN_HEADER) }),
      DELETE: (exchange, request) => this.release(exchange, request),
    };
    this.verify = { POST: (exchange) => this.ofLock(exchange, { kind: Kind.verify }) };
    this.session = {
      GET: (exchange) => this.ofSession(exchange, Kind.sessionGet),
      PUT: (exchange) => this.ofSession(exchange, Kind.sessionRenew),
      DELETE: (exchange) => this.ofSession(exchange, Kind.sessionEnd),
    };
  }

  handle(res: HttpResponse, request: HttpRequest): void {
    const exchange = new Exchange(this.settings, res, request);
    try {
      this.dispatch(exchange, request);
    } catch (error) {
      this.settings.failed(error, exchange.requestId);
      exchange.fault('internal');
    }
  }

  private dispatch(exchange: Exchange, request: HttpRequest): void {
    const { origin, path, method } = exchange;
    if (origin !== '') {
      if (!this.settings.originAllowed(origin))
        return exchange.fault('forbidden', 'This origin is not allowed.');
      exchange.allow(origin);
    }
    const methods = this.methodsOf(path);
    const allow = Object.keys(methods ?? {}).join(', ');
    // Browsers send no key with a preflight.
    if (method === 'OPTIONS' && origin !== '' && methods !== undefined) return preflight(exchange, allow);
    if (!OPEN_PATHS.has(path) && !this.authenticated(exchange, request)) return;
    if (methods === undefined) return exchange.fault('not_found');
    const handler = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (handler !== undefined) return handler(exchange, request);
    exchange.fault('method_not_allowed', `${path.slice(0, 64)} takes ${allow}.`, { Allow: allow });
  }

  private authenticated(exchange: Exchange, request: HttpRequest): boolean {
    const identity = this.settings.auth.authenticate(request.getHeader('authorization'));
    if (identity === UNAUTHENTICATED) exchange.unauthenticated();
    else exchange.identity = identity;
    return identity !== UNAUTHENTICATED;
  }

  private methodsOf(path: string): Methods | undefined {
    if (path.startsWith(SESSIONS)) return path.includes('/', SESSIONS.length) ? undefined : this.session;
    if (!path.startsWith(LOCKS)) return this.paths.get(path);
    const slash = path.indexOf('/', LOCKS.length);
    if (slash < 0) return this.lock;
    return path.length === slash + VERIFY.length && path.endsWith(VERIFY) ? this.verify : undefined;
  }

  private release(exchange: Exchange, request: HttpRequest): void {
    const force = readQuery(exchange.query, FORCE_PARAMETERS, exchange.problems);
    if (force.size > 0) this.withoutQuery(exchange, { kind: Kind.force, force }, true);
    else this.ofLock(exchange, { kind: Kind.release, lockToken: request.getHeader(TOKEN_HEADER) });
  }

  private get(exchange: Exchange): void {
    const given = readQuery(exchange.query, ['consistency'], exchange.problems);
    if (!['strong', 'cached'].includes(given.get('consistency') ?? 'strong')) {
      exchange.problem('query/consistency', 'strong or cached');
    }
    if (exchange.problems.length > 0) return exchange.malformed();
    const name = nameOf(exchange);
    if (name !== undefined && this.admitted(exchange))
      submitOne(this.settings, exchange, { kind: Kind.get, name }, {});
  }

  private list(exchange: Exchange): void {
    if (this.admitted(exchange)) submitListing(this.settings, exchange);
  }

  private ofLock(exchange: Exchange, request: OneRequest): void {
    readQuery(exchange.query, [], exchange.problems);
    this.withoutQuery(exchange, request, true);
  }

  private ofSession(exchange: Exchange, kind: number): void {
    const id = percentDecode(exchange.path.slice(SESSIONS.length), false);
    this.one(exchange, { kind, session: id?.toString() ?? '' });
  }

  private one(exchange: Exchange, request: OneRequest): void {
    readQuery(exchange.query, [], exchange.problems);
    this.withoutQuery(exchange, request, false);
  }

  private withoutQuery(exchange: Exchange, request: OneRequest, hasName: boolean): void {
    if (exchange.problems.length > 0) return exchange.malformed();
    const name = hasName ? nameOf(exchange) : undefined;
    if ((hasName && name === undefined) || !this.admitted(exchange)) return;
    const whole = name === undefined ? request : { ...request, name };
    exchange.readBody(LIMITS.bodyBytesMax, (fields) => {
      this.guarded(exchange, () => submitOne(this.settings, exchange, whole, fields));
    });
  }

  private batch(exchange: Exchange): void {
    readQuery(exchange.query, [], exchange.problems);
    if (exchange.problems.length > 0) return exchange.malformed();
    if (!this.admitted(exchange)) return;
    exchange.readBody(LIMITS.batchBytesMax, (fields) => {
      this.guarded(exchange, () => submitBatch(this.settings, exchange, fields));
    });
  }

  /** What runs in a callback of its own needs its own net. */
  private guarded(exchange: Exchange, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.settings.failed(error, exchange.requestId);
      exchange.fault('internal');
    }
  }

  private admitted(exchange: Exchange): boolean {
    if (!this.settings.isDraining()) return true;
    exchange.fault('draining');
    return false;
  }

  private ready(exchange: Exchange): void {
    if (this.settings.isDraining()) return exchange.fault('draining');
    const { ready, body } = this.settings.cluster.readiness();
    exchange.json(ready ? 200 : 503, body);
  }

  private cluster(exchange: Exchange): void {
    if (!exchange.identity.mayInspect) return exchange.forbidden();
    exchange.json(200, this.settings.cluster.report());
  }

  private metrics(exchange: Exchange): void {
    if (!exchange.identity.mayInspect) return exchange.forbidden();
    this.settings.metrics().then(
      (text) => exchange.text(200, METRICS_TYPE, text),
      (error: unknown) => {
        this.settings.failed(error, exchange.requestId);
        exchange.fault('internal');
      },
    );
  }
}

/** Takes no query. */
function plain(handler: (exchange: Exchange) => void): Handler {
  return (exchange) => {
    readQuery(exchange.query, [], exchange.problems);
    if (exchange.problems.length > 0) exchange.malformed();
    else handler(exchange);
  };
}

/** The bytes of the name in the path; undefined: they are no percent-encoded text, which has been answered. */
function nameOf(exchange: Exchange): Buffer | undefined {
  const { path } = exchange;
  const slash = path.indexOf('/', LOCKS.length);
  const name = percentDecode(slash < 0 ? path.slice(LOCKS.length) : path.slice(LOCKS.length, slash), false);
  if (name !== undefined) return name;
  exchange.problem('path/name', 'a lock name, percent-encoded as one segment');
  exchange.malformed();
  return undefined;
}

function preflight(exchange: Exchange, allow: string): void {
  exchange.empty(204, {
    'Access-Control-Allow-Methods': allow,
    'Access-Control-Allow-Headers':
      'Authorization, Content-Type, Holdfast-Lock-Token, Idempotency-Key, X-Request-Id, Traceparent',
    'Access-Control-Max-Age': '600',
  });
}

function noUpgrade(exchange: Exchange): void {
  exchange.problem('header/Upgrade', 'this path is for WebSockets');
  exchange.malformed();
}
