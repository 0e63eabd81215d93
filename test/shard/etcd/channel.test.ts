/** The connection itself, against servers that misbehave in ways etcd can't be made to. */
import { createServer as createHttp2, constants } from 'node:http2';
import type { ServerHttp2Stream } from 'node:http2';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Channel } from '../../../src/shard/etcd/channel.ts';
import { readAccess } from '../../../src/shard/etcd/credentials.ts';
import { failureOf } from '../../conformance/scene.ts';

const endings: (() => void)[] = [];
afterEach(() => {
  for (const end of endings.splice(0)) end();
});

function channelTo(ports: readonly number[], timeoutMs: number): Channel {
  const endpoints = ports.map((port) => `http://127.0.0.1:${port}`);
  const channel = new Channel(readAccess({ name: 's0', engine: 'etcd', endpoints, weight: 1 }), timeoutMs);
  endings.push(() => channel.close());
  return channel;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endings.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const WINDOW_BYTES = 2 ** 30;

/** An HTTP/2 server with windows so wide that only the socket limits what is sent. */
function startServer(onStream: (stream: ServerHttp2Stream) => void): Promise<number> {
  const server = createHttp2({ settings: { initialWindowSize: WINDOW_BYTES } });
  server.on('session', (session) => {
    session.setLocalWindowSize(WINDOW_BYTES);
    session.on('error', () => undefined);
    endings.push(() => session.destroy());
  });
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    onStream(stream);
  });
  return listen(server as unknown as Server);
}

const ANSWER = Buffer.from([0, 0, 0, 0, 2, 0x10, 1]);

function answer(stream: ServerHttp2Stream): void {
  stream.resume();
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(ANSWER);
}

const message = (bytes: number) => new Uint8Array(bytes).fill(0x41);

describe('a call', () => {
  it('that timed out sends nothing of what the caller writes into its buffer afterwards', async () => {
    const port = await startServer((stream) => stream.resume());
    let client: Socket | undefined;
    let stalled = false;
    const received: Buffer[] = [];
    const relay = createServer((socket) => {
      client = socket;
      const server = connect(port, '127.0.0.1');
      for (const one of [socket, server]) one.on('error', () => undefined);
      server.on('data', (bytes) => socket.write(bytes));
      socket.on('data', (bytes) => {
        received.push(bytes);
        server.write(bytes);
        // Let the call begin, then read nothing until it has failed.
        if (bytes.includes(0x41) && !stalled) {
          stalled = true;
          socket.pause();
        }
      });
      socket.on('close', () => server.destroy());
    });
    const channel = channelTo([await listen(relay)], 600);
    const buffer = message(64 * 1024 * 1024);
    expect((await failureOf(channel.call('/x/y', [buffer]))).outcome).toBe('unknown');
    buffer.fill(0x42);
    const ended = new Promise((resolve) => client?.once('close', resolve));
    client?.resume();
    await ended;
    const all = Buffer.concat(received);
    expect(stalled).toBe(true);
    expect(all.length).toBeGreaterThan(100_000);
    expect(all.length).toBeLessThan(buffer.length);
    expect(all.includes(Buffer.alloc(16, 0x42))).toBe(false);
  }, 20_000);

  it('whose stream is refused has no effect; one that is reset may have', async () => {
    let code: number = constants.NGHTTP2_REFUSED_STREAM;
    const port = await startServer((stream) => stream.close(code));
    const channel = channelTo([port], 1_000);
    expect((await failureOf(channel.call('/x/y', [message(10)]))).outcome).toBe('refused');
    code = constants.NGHTTP2_INTERNAL_ERROR;
    expect((await failureOf(channel.call('/x/y', [message(10)]))).outcome).toBe('unknown');
  });

  it('goes to a new connection after GOAWAY, and one under way still gets its answer', async () => {
    let sessions = 0;
    const seen = new Set<unknown>();
    const port = await startServer((stream) => {
      if (!seen.has(stream.session)) sessions = seen.add(stream.session).size;
      stream.session?.goaway(constants.NGHTTP2_NO_ERROR);
      setTimeout(() => answer(stream), 50);
    });
    const channel = channelTo([port], 1_000);
    for (let i = 1; i <= 3; i++) {
      expect(await channel.call('/x/y', [message(10)])).toEqual(ANSWER.subarray(5));
      expect(sessions).toBe(i);
    }
  });

  it('is not cut while the member answers pings, but ends at its deadline', async () => {
    const port = await startServer((stream) => stream.resume());
    const channel = channelTo([port], 600);
    const started = performance.now();
    expect((await failureOf(channel.call('/x/y', [message(10)]))).outcome).toBe('unknown');
    expect(performance.now() - started).toBeGreaterThan(550);
  });

  it('outlasts a thread that is busy beyond the deadline while the answer arrives', async () => {
    const port = await startServer((stream) => setTimeout(() => answer(stream), 20));
    const channel = channelTo([port], 500);
    const call = channel.call('/x/y', [message(10)]);
    // Server and client share this thread: first let the request arrive and the answer leave.
    await channel.call('/x/y', [message(10)]);
    expect(await call).toEqual(ANSWER.subarray(5));
    const late = channel.call('/x/y', [message(10)]);
    for (const until = performance.now() + 450; performance.now() < until;);
    expect(await late).toEqual(ANSWER.subarray(5));
  });

  it('passes by a member that accepts connections and never speaks', async () => {
    const silent = createServer((socket) => void endings.push(() => socket.destroy()));
    const ports = [await listen(silent), await startServer(answer)];
    const channel = channelTo(ports, 1_000);
    expect(await channel.call('/x/y', [message(10)])).toEqual(ANSWER.subarray(5));
  });

  it('ends refused and in time when nobody is there, and is not tried in a tight loop', async () => {
    let attempts = 0;
    const rude = createServer((socket) => {
      attempts++;
      socket.destroy();
    });
    const channel = channelTo([await listen(rude)], 500);
    const started = performance.now();
    let calls = 0;
    for (; performance.now() - started < 1_500; calls++) {
      expect((await failureOf(channel.call('/x/y', [message(10)]))).outcome).toBe('refused');
    }
    expect(attempts).toBeLessThan(20);
    expect(calls).toBeLessThan(20);
  });

  it('answers that are not gRPC end in a failure', async () => {
    const bodies: Buffer[] = [
      Buffer.from([1, 0, 0, 0, 0]),
      Buffer.from([0, 255, 0, 0, 0]),
      Buffer.from([0, 0]),
    ];
    const port = await startServer((stream) => {
      const body = bodies.shift();
      stream.resume();
      stream.respond({ ':status': body === undefined ? 404 : 200 });
      stream.end(body);
    });
    const channel = channelTo([port], 1_000);
    for (let i = 0; i < 4; i++)
      expect((await failureOf(channel.call('/x/y', [message(10)]))).outcome).toBe('unknown');
  });
});
