/** The HTTP surface as a client sees it: one function, and what it answers as data. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed JSON, or the text where it is none. */
  readonly body: any;
}

export interface HttpRequest {
  readonly body?: unknown;
  /** Instead of `body`, as it is. */
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 20_000;

export class HttpClient {
  readonly url: string;
  readonly #key: Readonly<Record<string, string>>;

  constructor(url: string, apiKey?: string) {
    this.url = url;
    this.#key = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  }

  async call(method: string, path: string, request: HttpRequest = {}): Promise<HttpAnswer> {
    const text = request.text ?? (request.body === undefined ? undefined : JSON.stringify(request.body));
    const answer = await fetch(this.url + path, {
      method,
      headers: {
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        ...this.#key,
        ...request.headers,
      },
      signal: AbortSignal.timeout(request.timeoutMs ?? TIMEOUT_MS),
      ...(text === undefined ? {} : { body: text }),
    });
    const content = await answer.text();
    return { status: answer.status, headers: answer.headers, body: parsed(content) };
  }

  acquire(name: string, body: object = {}): Promise<HttpAnswer> {
    return this.call('POST', lockPath(name), { body });
  }

  renew(name: string, lockToken: string, body: object = {}): Promise<HttpAnswer> {
    return this.call('PUT', lockPath(name), { body, headers: { 'holdfast-lock-token': lockToken } });
  }

  release(name: string, lockToken: string): Promise<HttpAnswer> {
    return this.call('DELETE', lockPath(name), { headers: { 'holdfast-lock-token': lockToken } });
  }

  get(name: string): Promise<HttpAnswer> {
    return this.call('GET', lockPath(name));
  }

  verify(name: string, body: object): Promise<HttpAnswer> {
    return this.call('POST', `${lockPath(name)}/verify`, { body });
  }

  batch(ops: readonly object[], rest: object = {}): Promise<HttpAnswer> {
    return this.call('POST', '/v1/batch', { body: { ops, ...rest } });
  }
}

export function lockPath(name: string): string {
  return `/v1/locks/${encodeURIComponent(name)}`;
}

function parsed(content: string): unknown {
  try {
    return content === '' ? undefined : JSON.parse(content);
  } catch {
    return content;
  }
}
