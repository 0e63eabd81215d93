/** WebSocket clients for the front's tests. */
import { WebSocket } from 'ws';
import { type Op, Kind, Op as OpCursor } from '../../src/op.ts';
import { Answer, AnswerBytes, readAnswer, Section } from '../../src/protocol/answer.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { writeRequest } from '../../src/protocol/request.ts';
import { decodeText, tokenText } from '../../src/protocol/words.ts';

export interface Closed {
  code: number;
  reason: string;
}

/** Keeps every frame until it is asked for. */
export class Client {
  readonly ws: WebSocket;
  readonly frames: { data: Buffer; isBinary: boolean }[] = [];
  closed: Closed | undefined;
  private wake: () => void = () => {};

  constructor(url: string, protocols: string[], headers: Record<string, string> = {}) {
    this.ws = new WebSocket(url.replace('http', 'ws'), protocols, { headers, perMessageDeflate: false });
    this.ws.on('message', (data, isBinary) => {
      this.frames.push({ data: data as Buffer, isBinary });
      this.wake();
    });
    this.ws.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      this.wake();
    });
    this.ws.on('error', () => this.wake());
  }

  static async open(url: string, protocol?: string): Promise<Client> {
    const client = new Client(`${url}/v1/ws`, protocol === undefined ? [] : [protocol]);
    await new Promise((resolve, reject) => client.ws.once('open', resolve).once('error', reject));
    return client;
  }

  /** Waits until `done` holds; rejects after two seconds. */
  async until(done: () => boolean): Promise<void> {
    const end = performance.now() + 2_000;
    while (!done()) {
      if (performance.now() > end)
        throw new Error(`gave up; ${this.frames.length} frames, closed: ${JSON.stringify(this.closed)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 20);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async frame(): Promise<Buffer> {
    await this.until(() => this.frames.length > 0);
    return this.frames.shift()!.data;
  }

  async end(): Promise<Closed> {
    await this.until(() => this.closed !== undefined);
    return this.closed!;
  }
}

export type JsonAnswer = Record<string, unknown> & { id: unknown; status: number };

/** As many answers as asked for, in whatever frames they come. */
export async function jsonAnswers(client: Client, count: number): Promise<JsonAnswer[]> {
  const answers: JsonAnswer[] = [];
  while (answers.length < count)
    answers.push(...[JSON.parse((await client.frame()).toString()) as JsonAnswer | JsonAnswer[]].flat());
  return answers;
}

export interface BinaryAnswer {
  id: number;
  status: number;
  code: number;
  sections: number;
  fencingToken: number;
  lockToken: string;
  owner: string;
  detail: string;
  answer: Answer;
}

export async function binaryAnswers(client: Client, count: number): Promise<BinaryAnswer[]> {
  const answers: BinaryAnswer[] = [];
  while (answers.length < count) answers.push(...decodeAnswers(await client.frame()));
  return answers;
}

export function decodeAnswers(frame: Buffer): BinaryAnswer[] {
  const source = new AnswerBytes(new Uint8Array(frame).buffer, frame.length);
  const answers: BinaryAnswer[] = [];
  for (let at = 0; at < frame.length;) {
    const answer = new Answer();
    at = readAnswer(source, at, answer);
    const { id, status, code, sections, fencingToken } = answer;
    answers.push({
      id,
      status,
      code,
      sections,
      fencingToken,
      lockToken:
        sections & Section.token ? tokenText(answer.tokenBytes, answer.tokenAt, answer.tokenLength) : '',
      owner: decodeText(answer.ownerBytes, answer.ownerAt, answer.ownerLength),
      detail:
        sections & Section.detail ? decodeText(answer.detailBytes, answer.detailAt, answer.detailLength) : '',
      answer,
    });
  }
  return answers;
}

export interface Request {
  kind?: number;
  id?: number;
  /** Of a session: the byte 1 and its id. */
  name?: string | Uint8Array;
  token?: Uint8Array | string;
  owner?: string;
  metadata?: string;
  ttlMs?: number;
  fencingToken?: number;
  flags?: number;
  waitMs?: number;
}

/** A frame of these requests. */
export function frameOf(...requests: Request[]): Buffer {
  const out = new GrowingBytes();
  for (const request of requests) writeRequest(out, opOf(request));
  return Buffer.from(out.bytes.slice(0, out.length));
}

function opOf(request: Request): Op {
  const texts = [request.name ?? '', request.token ?? '', request.owner ?? '', request.metadata ?? ''].map(
    (text) => Buffer.from(text as string),
  );
  const op = new OpCursor();
  op.kind = request.kind ?? Kind.acquire;
  op.id = request.id ?? 1;
  op.flags = request.flags ?? 0;
  op.ttlMs = request.ttlMs ?? 0;
  op.fencingToken = request.fencingToken ?? 0;
  op.waitMs = request.waitMs ?? 0;
  op.bytes = Buffer.concat(texts);
  [op.keyLength, op.tokenLength, op.ownerLength, op.metadataLength] = texts.map(({ length }) => length) as [
    number,
    number,
    number,
    number,
  ];
  op.tokenAt = op.keyLength;
  op.ownerAt = op.tokenAt + op.tokenLength;
  op.metadataAt = op.ownerAt + op.ownerLength;
  return op;
}
