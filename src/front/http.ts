/**
 * HTTP: from the request line to what answers it (API.md, HTTP).
 *
 * One lookup by path and then by method, so that a path that exists under
 * another method is 405 with `Allow`, and everything else 404.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { LIMITS } from '../limits.ts';
import { Kind } from '../op.ts';
import { NOT_YET } from '../protocol/json-fields.ts';
import { openApiText } from '../protocol/openapi.ts';
import type { ClusterView } from './cluster.ts';
import { Exchange, type ExchangeContext } from './exchange.ts';
import { type HttpContext, submitBatch, submitOne } from './http-ops.ts';
import { submitListing } from './listing.ts';
import { percentDecode, readQuery } from './target.ts';

export interface HttpSettings extends HttpContext, ExchangeContext {
  readonly cluster: ClusterView;
  readonly version: string;
  readonly metrics: () => Promise<string>;
  originAllowed(origin: string): boolean;
  failed(error: unknown, requestId: string): void;
}

type Handler = (exchange: Exchange, request: HttpRequest) => void;
type Methods = Readonly<Record<string, Handler>>;

const LOCKS = '/v1/locks/';
const VERIFY = '/verify';
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
const TOKEN_HEADER = 'holdfast-lock-token';

export class Http {
  private readonly settings: HttpSettings;
  private readonly paths: ReadonlyMap<string, Methods>;
  private readonly lock: Methods;
  private readonly verify: Methods;

  constructor(settings: HttpSettings) {
    this.settings = settings;
    this.paths = new Map<string, Methods>([
      ['/v1/locks', { GET: (exchange) => this.list(exchange) }],
      ['/v1/batch', { POST: (exchange) => this.batch(exchange) }],
      ['/v1/cluster', { GET: plain((exchange) => exchange.json(200, settings.cluster.report())) }],
      ['/v1/ws', { GET: plain((exchange) => noUpgrade(exchange)) }],
      ['/healthz', { GET: plain((exchange) => exchange.json(200, '{"alive":true}')) }],
      ['/readyz', { GET: plain((exchange) => this.ready(exchange)) }],
      ['/metrics', { GET: plain((exchange) => this.metrics(exchange)) }],
      ['/openapi.json', { GET: plain((exchange) => exchange.json(200, openApiText(settings.version))) }],
    ]);
    this.lock = {
      GET: (exchange) => this.get(exchange),
      POST: (exchange, request) => this.acquire(exchange, request),
      PUT: (exchange, request) => this.withBody(exchange, Kind.renew, request.getHeader(TOKEN_HEADER)),
      DELETE: (exchange, request) => this.release(exchange, request),
    };
    this.verify = { POST: (exchange) => this.withBody(exchange, Kind.verify, '') };
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
    if (methods === undefined) return this.noSuchPath(exchange);
    const handler = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (handler !== undefined) return handler(exchange, request);
    const allow = Object.keys(methods).join(', ');
    if (method === 'OPTIONS' && origin !== '') return preflight(exchange, allow);
    exchange.fault('method_not_allowed', `${path.slice(0, 64)} takes ${allow}.`, { Allow: allow });
  }

  private methodsOf(path: string): Methods | undefined {
    if (!path.startsWith(LOCKS)) return this.paths.get(path);
    const slash = path.indexOf('/', LOCKS.length);
    if (slash < 0) return this.lock;
    return path.length === slash + VERIFY.length && path.endsWith(VERIFY) ? this.verify : undefined;
  }

  private noSuchPath(exchange: Exchange): void {
    if (exchange.path === '/v1/sessions' || exchange.path.startsWith('/v1/sessions/')) {
      exchange.problem('path', `sessions are ${NOT_YET}`);
      return exchange.malformed();
    }
    exchange.fault('not_found');
  }

  private acquire(exchange: Exchange, request: HttpRequest): void {
    if (request.getHeader('idempotency-key') !== '') {
      exchange.problem('header/Idempotency-Key', `Idempotency-Key is ${NOT_YET}`);
      return exchange.malformed();
    }
    this.withBody(exchange, Kind.acquire, '');
  }

  private release(exchange: Exchange, request: HttpRequest): void {
    const force = readQuery(exchange.query, ['force', 'reason', 'fencingToken'], exchange.problems);
    if (force.size > 0) exchange.problem(`query/${[...force.keys()][0]}`, `forced release is ${NOT_YET}`);
    if (exchange.problems.length > 0) return exchange.malformed();
    this.withoutQuery(exchange, Kind.release, request.getHeader(TOKEN_HEADER));
  }

  private get(exchange: Exchange): void {
    const given = readQuery(exchange.query, ['consistency'], exchange.problems);
    if (!['strong', 'cached'].includes(given.get('consistency') ?? 'strong')) {
      exchange.problem('query/consistency', 'strong or cached');
    }
    if (exchange.problems.length > 0) return exchange.malformed();
    const name = nameOf(exchange);
    if (name !== undefined && this.admitted(exchange))
      submitOne(this.settings, exchange, Kind.get, name, '', {});
  }

  private list(exchange: Exchange): void {
    if (this.admitted(exchange)) submitListing(this.settings, exchange);
  }

  private withBody(exchange: Exchange, kind: number, lockToken: string): void {
    readQuery(exchange.query, [], exchange.problems);
    if (exchange.problems.length > 0) return exchange.malformed();
    this.withoutQuery(exchange, kind, lockToken);
  }

  private withoutQuery(exchange: Exchange, kind: number, lockToken: string): void {
    const name = nameOf(exchange);
    if (name === undefined || !this.admitted(exchange)) return;
    exchange.readBody(LIMITS.bodyBytesMax, (fields) => {
      this.guarded(exchange, () => submitOne(this.settings, exchange, kind, name, lockToken, fields));
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

  private metrics(exchange: Exchange): void {
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
