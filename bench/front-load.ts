/**
 * Load for bench/front.ts, as a process of its own: prepared frames over plain
 * sockets, sent by the clock, whose answers are only counted.
 *
 *   node front-load.js <port> <mode> <opsPerFrame> <opsPerSecond> <seconds> <sockets>
 *
 * Prints one line of JSON.
 */
import { connect, type Socket } from 'node:net';
import { Kind, Op } from '../src/op.ts';
import { GrowingBytes } from '../src/protocol/bytes.ts';
import { writeRequest } from '../src/protocol/request.ts';

export type Mode = 'bin' | 'json' | 'http';

const [port, mode, perFrame, perSecond, seconds, sockets] = process.argv.slice(2) as [
  string,
  Mode,
  ...string[],
];
const opsPerFrame = Number(perFrame);
const TICK_MS = 1;
/** So many that no id of a JSON frame comes round while it is still open. */
const FRAMES = 4_096;

interface Client {
  socket: Socket;
  open: boolean;
  rest: Buffer;
  /** HTTP: requests under way; without pipelining that is none or one. */
  busy: boolean;
}

let answered = 0;
let failed = 0;

function nameOf(i: number): string {
  return `load-a1b2c3-0-${String(i).padStart(7, '0')}`;
}

function binaryPayload(first: number): Buffer {
  const out = new GrowingBytes();
  const op = new Op();
  for (let i = 0; i < opsPerFrame; i++) {
    const name = Buffer.from(nameOf(first + i));
    op.kind = i % 2 === 0 ? Kind.acquire : Kind.release;
    op.id = first + i;
    op.bytes = Buffer.concat([name, Buffer.alloc(16, 7)]);
    op.keyLength = name.length;
    op.tokenAt = name.length;
    op.tokenLength = 16;
    op.ttlMs = 30_000;
    writeRequest(out, op);
  }
  return Buffer.from(out.bytes.slice(0, out.length));
}

function jsonPayload(first: number): Buffer {
  const requests = Array.from({ length: opsPerFrame }, (_, i) => ({
    id: first + i,
    op: 'acquire',
    name: nameOf(first + i),
    ttlMs: 30_000,
    lockToken: '00112233-4455-4677-8899-aabbccddeeff',
  }));
  return Buffer.from(JSON.stringify(opsPerFrame === 1 ? requests[0] : requests));
}

/** Masked with zero: legal, and the server unmasks all the same. */
function frame(payload: Buffer, opcode: number): Buffer {
  const { length } = payload;
  const head =
    length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | length])
      : Buffer.from([0x80 | opcode, 0xfe, length >> 8, length & 255]);
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

function httpRequest(i: number): Buffer {
  const body = '{"ttlMs":30000}';
  const lines = [
    `POST /v1/locks/${nameOf(i)} HTTP/1.1`,
    'Host: x',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    '',
    body,
  ];
  return Buffer.from(lines.join('\r\n'));
}

/** Whole frames of what came; the rest is kept. */
function countFrames(client: Client): void {
  const { rest } = client;
  let at = 0;
  while (rest.length - at >= 2) {
    const short = rest[at + 1] & 0x7f;
    const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (rest.length - at < headBytes) break;
    const length =
      short < 126 ? short : short === 126 ? rest.readUInt16BE(at + 2) : Number(rest.readBigUInt64BE(at + 2));
    if (rest.length - at - headBytes < length) break;
    const payload = rest.subarray(at + headBytes, at + headBytes + length);
    if ((rest[at] & 15) === 2) countBinary(payload);
    else if ((rest[at] & 15) === 1) countText(payload, '"status":201', '"code":');
    at += headBytes + length;
  }
  client.rest = rest.subarray(at);
}

function countBinary(payload: Buffer): void {
  for (let at = 0; at < payload.length; at += payload.readUInt32LE(at)) {
    answered++;
    if (payload[at + 10] !== 0) failed++;
  }
}

function countText(payload: Buffer, good: string, bad: string): number {
  let count = 0;
  for (let at = payload.indexOf(good); at >= 0; at = payload.indexOf(good, at + 1)) count++;
  for (let at = payload.indexOf(bad); at >= 0; at = payload.indexOf(bad, at + 1)) failed++;
  answered += count;
  return count;
}

function open(): Promise<Client> {
  return new Promise((resolve) => {
    const socket = connect({ port: Number(port), host: '127.0.0.1', noDelay: true });
    const client: Client = { socket, open: mode === 'http', rest: Buffer.alloc(0), busy: false };
    socket.on('data', (data: Buffer) => {
      client.rest = client.rest.length === 0 ? data : Buffer.concat([client.rest, data]);
      if (mode === 'http') {
        if (countText(client.rest, 'HTTP/1.1 201', 'HTTP/1.1 4') > 0) client.busy = false;
        client.rest = Buffer.alloc(0);
        return;
      }
      if (!client.open) {
        const end = client.rest.indexOf('\r\n\r\n');
        if (end < 0) return;
        client.rest = client.rest.subarray(end + 4);
        client.open = true;
        resolve(client);
      }
      countFrames(client);
    });
    socket.on('connect', () => {
      if (mode === 'http') return resolve(client);
      const lines = [
        'GET /v1/ws HTTP/1.1',
        'Host: x',
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
        'Sec-WebSocket-Version: 13',
        `Sec-WebSocket-Protocol: holdfast.v1.${mode}`,
        '\r\n',
      ];
      socket.write(lines.join('\r\n'));
    });
  });
}

const clients = await Promise.all(Array.from({ length: Number(sockets) }, open));
const frames = Array.from({ length: FRAMES }, (_, i) =>
  mode === 'http'
    ? httpRequest(i)
    : mode === 'bin'
      ? frame(binaryPayload(i * opsPerFrame), 2)
      : frame(jsonPayload(i * opsPerFrame), 1),
);
const started = performance.now();
let sent = 0;
let next = 0;

function tick(): void {
  const elapsed = performance.now() - started;
  const due = Math.floor(
    (Math.min(elapsed, Number(seconds) * 1_000) * Number(perSecond)) / 1_000 / opsPerFrame,
  );
  const now = due - sent;
  for (const client of clients) client.socket.cork();
  for (let i = 0; i < now; i++) {
    const client = clients[next++ % clients.length];
    if (mode === 'http') {
      if (client.busy) continue;
      client.busy = true;
    }
    client.socket.write(frames[sent % frames.length]);
    sent++;
  }
  for (const client of clients) client.socket.uncork();
  if (elapsed < Number(seconds) * 1_000) setTimeout(tick, TICK_MS);
  else setTimeout(end, 500);
}

function end(): void {
  console.log(JSON.stringify({ sent: sent * opsPerFrame, answered, failed }));
  for (const client of clients) client.socket.destroy();
}

tick();
