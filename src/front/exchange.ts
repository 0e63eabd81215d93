/**
 * One HTTP request and its answer.
 *
 *   reading ─► waiting ─► answered
 *      └──────────┴─────► aborted: the client went away, nothing is sent
 *
 * uWS frees the response when it is answered or aborted; it is not touched
 * after either.
 */
import { isUtf8 } from 'node:buffer';
import { STATUS_CODES } from 'node:http';
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { CODES, type ErrorCode, type Problem } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { detailOf, renderFault, renderProblem } from '../protocol/json-answer.ts';
import type { Fields } from '../protocol/json-fields.ts';
import { type Identity, KEY_NEEDED, NOBODY, NOT_ALLOWED } from './auth.ts';

const JSON_TYPE = 'application/json';
const PROBLEM_TYPE = 'application/problem+json';
const REQUEST_ID = /^[\w.~-]{1,64}$/;
const JSON_CONTENT = /^application\/(?:[\w.+-]+\+)?json\s*(?:;\s*charset="?utf-8"?\s*)?$/i;

export interface ExchangeContext {
  newRequestId(): string;
  isDraining(): boolean;
}

export class Exchange {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** Of the request; '' = none. */
  readonly origin: string;
  /** Who asks; until that is known, nobody who may do anything. */
  identity: Identity = NOBODY;
  /** What is wrong with query, headers or body, once something is. */
  readonly problems: Problem[] = [];
  /** Set while it may be answered. */
  onAbort: (() => void) | undefined;
  private readonly res: HttpResponse;
  private readonly context: ExchangeContext;
  private readonly contentType: string;
  private readonly contentLength: string;
  private over = false;
  private allowedOrigin = '';

  constructor(context: ExchangeContext, res: HttpResponse, req: HttpRequest) {
    this.context = context;
    this.res = res;
    this.method = req.getCaseSensitiveMethod();
    this.path = req.getUrl();
    this.query = req.getQuery() ?? '';
    this.origin = req.getHeader('origin');
    this.contentType = req.getHeader('content-type');
    this.contentLength = req.getHeader('content-length');
    const requestId = req.getHeader('x-request-id');
    this.requestId = requestId !== '' && REQUEST_ID.test(requestId) ? requestId : context.newRequestId();
    res.onAborted(() => {
      this.over = true;
      this.onAbort?.();
    });
  }

  /** False once it was answered or the client went away. */
  get waiting(): boolean {
    return !this.over;
  }

  /** The origin may read the answer. */
  allow(origin: string): void {
    this.allowedOrigin = origin;
  }

  problem(pointer: string, detail: string): void {
    this.problems.push({ pointer, detail });
  }

  /** Calls `take` with the body's fields ({} when there is none), or answers what is wrong with it. */
  readBody(bytesMax: number, take: (fields: Fields) => void): void {
    if (Number(this.contentLength) > LIMITS.bodyBytesSkippedMax) return this.tooLarge(bytesMax);
    const chunks: Buffer[] = [];
    let length = 0;
    this.res.onData((chunk, isLast) => {
      if (this.over) return;
      length += chunk.byteLength;
      // A client that is still sending would lose the answer with the connection: so read it to its end.
      if (length > bytesMax) {
        chunks.length = 0;
        if (isLast || length > LIMITS.bodyBytesSkippedMax) this.tooLarge(bytesMax);
        return;
      }
      if (isLast && chunks.length === 0) return this.parse(Buffer.from(chunk), take);
      chunks.push(Buffer.from(Buffer.from(chunk)));
      if (isLast) this.parse(Buffer.concat(chunks), take);
    });
  }

  /** Nothing is awaited of a body; what comes is not looked at. */
  json(status: number, body: string): void {
    this.send(status, JSON_TYPE, body);
  }

  text(status: number, contentType: string, body: string): void {
    this.send(status, contentType, body);
  }

  empty(status: number, headers: Readonly<Record<string, string>> = {}): void {
    this.send(status, '', '', headers);
  }

  /** An error without more to say than its code, or than `detail`. */
  fault(code: ErrorCode, detail = detailOf(code), headers: Readonly<Record<string, string>> = {}): void {
    const { retryable } = CODES[code];
    const retryAfterMs = retryable && code !== 'outcome_unknown' ? LIMITS.retryAfterMs : 0;
    this.failed(
      code,
      renderFault({ code, detail, problems: this.problems, retryAfterMs }),
      retryAfterMs,
      headers,
    );
  }

  unauthenticated(): void {
    this.fault('unauthenticated', KEY_NEEDED, { 'WWW-Authenticate': 'Bearer' });
  }

  forbidden(): void {
    this.fault('forbidden', NOT_ALLOWED);
  }

  malformed(problems: readonly Problem[] = this.problems): void {
    const detail = `${problems[0].pointer}: ${problems[0].detail}`;
    this.failed('bad_request', renderFault({ code: 'bad_request', detail, problems, retryAfterMs: 0 }), 0);
  }

  /** A problem document out of rendered members. */
  failed(
    code: ErrorCode,
    members: string,
    retryAfterMs: number,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    const all =
      retryAfterMs === 0 ? headers : { ...headers, 'Retry-After': `${Math.ceil(retryAfterMs / 1_000)}` };
    this.send(CODES[code].status, PROBLEM_TYPE, renderProblem(members, code, this.requestId), all);
  }

  private parse(body: Buffer, take: (fields: Fields) => void): void {
    if (body.length === 0) return take({});
    if (this.contentType !== '' && !JSON_CONTENT.test(this.contentType)) {
      return this.fault('unsupported_media_type', 'a body is application/json in UTF-8');
    }
    let value: unknown;
    try {
      value = isUtf8(body) ? JSON.parse(body.toString('utf8')) : undefined;
    } catch {
      value = undefined;
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return this.malformed([{ pointer: '', detail: 'the body is a JSON object in UTF-8' }]);
    }
    take(value as Fields);
  }

  /** Whatever is left of the body is not read: the connection ends with the answer. */
  private tooLarge(bytesMax: number): void {
    this.send(
      413,
      PROBLEM_TYPE,
      renderProblem(
        renderFault({
          code: 'too_large',
          detail: `a body here has at most ${bytesMax} bytes`,
          problems: [],
          retryAfterMs: 0,
        }),
        'too_large',
        this.requestId,
      ),
      {},
      true,
    );
  }

  private send(
    status: number,
    contentType: string,
    body: string,
    headers: Readonly<Record<string, string>> = {},
    last = this.context.isDraining(),
  ): void {
    if (this.over) return;
    this.over = true;
    const { res } = this;
    res.cork(() => {
      res.writeStatus(STATUS_LINES[status]);
      res.writeHeader('X-Request-Id', this.requestId);
      res.writeHeader('Cache-Control', 'no-store');
      if (this.allowedOrigin !== '') {
        res.writeHeader('Access-Control-Allow-Origin', this.allowedOrigin);
        res.writeHeader('Access-Control-Expose-Headers', 'X-Request-Id, Retry-After');
        res.writeHeader('Vary', 'Origin');
      }
      for (const name in headers) res.writeHeader(name, headers[name]);
      if (contentType === '') {
        if (last) res.endWithoutBody(0, true);
        else res.endWithoutBody();
        return;
      }
      res.writeHeader('Content-Type', contentType);
      res.end(body, last);
    });
  }
}

const STATUS_LINES: Record<number, string> = {};
for (const [status, text] of Object.entries(STATUS_CODES)) STATUS_LINES[Number(status)] = `${status} ${text}`;
