/** WebSocket clients of both protocols, as plain as a test needs them. */
import { WebSocket } from 'ws';
import { Kind, Op } from '../../src/op.ts';
import { Answer, readAnswer, Section } from '../../src/protocol/answer.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { writeRequest } from '../../src/protocol/request.ts';

const ANSWER_MS = 20_000;
/** A frozen process still accepts connections: the kernel does it. */
const HANDSHAKE_MS = 3_000;

export interface Closed {
  readonly code: number;
}

function open(url: string, protocols: string[], headers: Record<string, string>): Promise<WebSocket> {
  const socket = new WebSocket(url, protocols, { headers, handshakeTimeout: HANDSHAKE_MS });
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
    socket.once('unexpected-response', (_, answer) => reject(new Error(`refused with ${answer.statusCode}`)));
  });
}

/** `answers`, or an error once they take too long. */
async function inTime<T>(answers: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
  });
  try {
    return await Promise.race([answers, late]);
  } finally {
    clearTimeout(timer);
  }
}

export class JsonSocket {
  readonly socket: WebSocket;
  readonly closed: Promise<Closed>;
  /** Everything that came and is no answer to an open request: events, too. */
  readonly others: any[] = [];
  readonly #waiting = new Map<number, (answer: any) => void>();
  readonly #listeners = new Set<() => void>();
  #next = 1;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', (code) => resolve({ code })));
    socket.on('error', () => {});
    socket.on('message', (data) => this.#received(JSON.parse(String(data))));
  }

  static async open(url: string, options: { protocols?: string[]; headers?: Record<string, string> } = {}) {
    return new JsonSocket(await open(url, options.protocols ?? ['holdfast.v1.json'], options.headers ?? {}));
  }

  ask(request: object): Promise<any> {
    return this.askAll([request], false).then(([answer]) => answer);
  }

  /** One frame with all of them, an array unless told otherwise. */
  askAll(requests: readonly object[], asArray = true): Promise<any[]> {
    const numbered = requests.map((request) => ({ id: this.#next++, ...request }));
    const answers = numbered.map(({ id }) => new Promise<any>((resolve) => this.#waiting.set(id, resolve)));
    this.socket.send(JSON.stringify(asArray ? numbered : numbered[0]));
    return inTime(Promise.all(answers), JSON.stringify(numbered[0]));
  }

  /** Sends one request and returns its id and its answer to come. */
  begin(request: object): { readonly id: number; readonly answer: Promise<any> } {
    const id = this.#next++;
    const answer = new Promise<any>((resolve) => this.#waiting.set(id, resolve));
    this.socket.send(JSON.stringify({ id, ...request }));
    const timed = inTime(answer, JSON.stringify(request));
    // Nobody waits for it where the socket is cut on purpose.
    timed.catch(() => undefined);
    return { id, answer: timed };
  }

  /** A frame that nothing answers by itself. */
  send(request: object): void {
    this.socket.send(JSON.stringify(request));
  }

  /** The first event that has come, or comes, with these members; it is taken out of `others`. */
  event(members: Readonly<Record<string, unknown>>): Promise<any> {
    const find = (): any => {
      const at = this.others.findIndex((other) =>
        Object.entries(members).every(([name, value]) => other[name] === value),
      );
      return at < 0 ? undefined : this.others.splice(at, 1)[0];
    };
    const found = new Promise<any>((resolve) => {
      const look = (): void => {
        const event = find();
        if (event === undefined) return;
        this.#listeners.delete(look);
        resolve(event);
      };
      this.#listeners.add(look);
      look();
    });
    return inTime(found, `event ${JSON.stringify(members)}`);
  }

  close(): void {
    this.socket.close();
  }

  /** Without a word to the server. */
  terminate(): void {
    this.socket.terminate();
  }

  #received(message: any): void {
    for (const answer of Array.isArray(message) ? message : [message]) {
      const waiting = answer.event === undefined ? this.#waiting.get(answer.id) : undefined;
      if (waiting === undefined) {
        this.others.push(answer);
        continue;
      }
      this.#waiting.delete(answer.id);
      waiting(answer);
    }
    for (const look of this.#listeners) look();
  }
}

export interface BinaryRequest {
  readonly op: keyof typeof Kind | 'ping';
  readonly name?: string;
  readonly token?: Uint8Array;
  readonly ttlMs?: number;
  readonly owner?: string;
  readonly fencingToken?: number;
  readonly flags?: number;
}

/** What a test looks at in an answer. */
export interface BinaryAnswer {
  readonly status: number;
  readonly code: number;
  readonly fencingToken: number;
  readonly ttlMs: number;
  readonly waitedMs: number;
  readonly expiresInMs: number;
  readonly current: boolean;
  readonly held: boolean;
  readonly token: Uint8Array | undefined;
  readonly owner: string;
  readonly detail: string;
}

const PING = 7;

/** The connection ended before the answer came: nobody knows whether the request took effect. */
export class CutError extends Error {
  /** Of the WebSocket's end: 1012 is a server that stops, 1006 a connection that broke. */
  readonly closeCode: number;

  constructor(closeCode: number) {
    super(`the connection ended with ${closeCode}`);
    this.closeCode = closeCode;
  }
}

interface Waiting {
  resolve(answer: BinaryAnswer): void;
  reject(error: Error): void;
}

export class BinarySocket {
  readonly socket: WebSocket;
  readonly closed: Promise<Closed>;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', (code) => resolve({ code })));
    socket.on('error', () => {});
    socket.once('close', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new CutError(code));
      this.#waiting.clear();
    });
    socket.on('message', (data: Buffer) => this.#received(data));
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<BinarySocket> {
    return new BinarySocket(await open(url, ['holdfast.v1.bin'], headers));
  }

  async ask(request: BinaryRequest): Promise<BinaryAnswer> {
    return (await this.askAll([request]))[0];
  }

  /** Requests that are not answered yet. */
  get open(): number {
    return this.#waiting.size;
  }

  /** Without a word to the server. */
  terminate(): void {
    this.socket.terminate();
  }

  /** One frame with all of them. Rejects with a CutError when the connection ends first. */
  askAll(requests: readonly BinaryRequest[]): Promise<BinaryAnswer[]> {
    const frame = new GrowingBytes();
    const answers = requests.map((request) => {
      const id = this.#next++;
      writeRequest(frame, opOf(request, id));
      return new Promise<BinaryAnswer>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    });
    const all = Promise.all(answers);
    this.socket.send(frame.bytes.slice(0, frame.length));
    return inTime(all, requests[0].op);
  }

  close(): void {
    this.socket.close();
  }

  #received(data: Buffer): void {
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const answer = new Answer();
    for (let at = 0; at < data.length;) {
      at = readAnswer({ bytes: data, view, length: data.length }, at, answer);
      this.#waiting.get(answer.id)?.resolve(taken(answer));
      this.#waiting.delete(answer.id);
    }
  }
}

function opOf(request: BinaryRequest, id: number): Op {
  const name = Buffer.from(request.name ?? '');
  const token = request.token ?? new Uint8Array(0);
  const owner = Buffer.from(request.owner ?? '');
  const op = new Op();
  op.kind = request.op === 'ping' ? PING : Kind[request.op];
  op.id = id;
  op.flags = request.flags ?? 0;
  op.ttlMs = request.ttlMs ?? 0;
  op.fencingToken = request.fencingToken ?? 0;
  op.bytes = Buffer.concat([name, token, owner]);
  op.keyLength = name.length;
  op.tokenAt = name.length;
  op.tokenLength = token.length;
  op.ownerAt = name.length + token.length;
  op.ownerLength = owner.length;
  return op;
}

function taken(answer: Answer): BinaryAnswer {
  const has = (section: number): boolean => (answer.sections & section) !== 0;
  const text = (bytes: Uint8Array, at: number, length: number) =>
    Buffer.from(bytes.subarray(at, at + length)).toString();
  const hasOwner = has(Section.labels | Section.holder | Section.state);
  return {
    status: answer.status,
    code: answer.code,
    fencingToken: answer.fencingToken,
    ttlMs: answer.ttlMs,
    waitedMs: answer.waitedMs,
    expiresInMs: answer.expiresInMs,
    current: has(Section.verdict) && answer.current,
    held: has(Section.state) && answer.holderCount > 0,
    token: has(Section.token)
      ? answer.tokenBytes.slice(answer.tokenAt, answer.tokenAt + answer.tokenLength)
      : undefined,
    owner: hasOwner ? text(answer.ownerBytes, answer.ownerAt, answer.ownerLength) : '',
    detail: has(Section.detail) ? text(answer.detailBytes, answer.detailAt, answer.detailLength) : '',
  };
}
