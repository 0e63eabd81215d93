/** Links over real sockets: npm `ws` on one side, uWebSockets.js on the other. */
import { Buffer } from 'node:buffer';
import uws, { type TemplatedApp, type us_listen_socket, type WebSocket } from 'uWebSockets.js';
import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { PEER_FRAME_BYTES_MAX, PeerSocket } from '../../src/front/peer-socket.ts';
import { Backlog, Outlet } from '../../src/front/sending.ts';
import { LIMITS } from '../../src/limits.ts';
import { openWebSocket, PEER_PATH, type Wire } from '../../src/peers/wire.ts';
import { Owner, KEY, makeOp, Sender, TERM } from './rig.ts';

interface Data {
  socket: PeerSocket | undefined;
  outlet: Outlet | undefined;
}

const CLEAN_UP: (() => void)[] = [];
afterEach(() => {
  for (const step of CLEAN_UP.splice(0)) step();
});

/** A process that takes links on a free port, as the front does. */
async function listen(owner: Owner): Promise<{ address: string; app: TemplatedApp }> {
  const app = uws.App();
  const backlog = new Backlog();
  app.ws<Data>(PEER_PATH, {
    maxPayloadLength: PEER_FRAME_BYTES_MAX,
    maxBackpressure: LIMITS.socketBackpressureBytesMax,
    closeOnBackpressureLimit: 1,
    upgrade: (res, request, context) => {
      const data: Data = { socket: undefined, outlet: undefined };
      const key = request.getHeader('sec-websocket-key');
      const protocol = request.getHeader('sec-websocket-protocol');
      res.upgrade(data, key, protocol, request.getHeader('sec-websocket-extensions'), context);
    },
    open: (ws: WebSocket<Data>) => {
      const outlet = new Outlet(ws, backlog);
      const from = Buffer.from(ws.getRemoteAddressAsText()).toString();
      Object.assign(ws.getUserData(), { outlet, socket: new PeerSocket(owner.context, outlet, from) });
    },
    message: (ws, message, isBinary) => ws.getUserData().socket?.message(message, isBinary),
    close: (ws) => ws.getUserData().socket?.closed(),
  });
  const listening = await new Promise<us_listen_socket | false>((resolve) => {
    app.listen('127.0.0.1', 0, resolve);
  });
  if (listening === false) throw new Error('cannot listen');
  CLEAN_UP.push(() => app.close());
  return { address: `127.0.0.1:${uws.us_socket_local_port(listening)}`, app };
}

async function until(done: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!done()) {
    if (performance.now() > end) throw new Error('gave up');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function realSender(address: string, key: Uint8Array | undefined): Sender {
  const sender = new Sender({ cluster: 'c', process: 'a', key }, openWebSocket, systemClock as never, {
    defer: (run) => void setImmediate(run),
  });
  sender.peers.update([{ id: 'b', address }]);
  CLEAN_UP.push(() => sender.peers.close());
  return sender;
}

function realOwner(key: Uint8Array | undefined): Owner {
  return new Owner({ cluster: 'c', process: 'b', key }, systemClock as never);
}

test('a link comes up, carries frames of every size both ways, and comes back after a cut', async () => {
  const owner = realOwner(KEY);
  const { address } = await listen(owner);
  const sender = realSender(address, KEY);
  await until(() => sender.up.length === 1);
  const now = systemClock.now();
  const ops = Array.from({ length: 6_000 }, (_, id) =>
    makeOp({ id, key: `k${id}-${'x'.repeat(id % 500)}`, slot: id % 64, receivedAt: now, connection: id % 5 }),
  );
  for (const op of ops) sender.forward(op);
  await until(() => owner.taken.length === ops.length);
  expect(owner.taken.map(({ key }) => key)).toEqual(
    ops.map((op) => Buffer.from(op.bytes.subarray(0, op.keyLength)).toString()),
  );
  const [{ socket, term }] = owner.taken;
  expect(term).toBe(TERM);
  owner.answer(
    socket,
    owner.taken.map(({ id }) => id),
  );
  await until(() => sender.told.length === ops.length);
  expect(new Set(sender.told.map(({ id }) => id)).size).toBe(ops.length);

  sender.forward(makeOp({ id: 99_999, receivedAt: systemClock.now() }));
  await until(() => owner.taken.length === ops.length + 1);
  socket.shutDown();
  await until(() => sender.told.length === ops.length + 1);
  expect(sender.told.at(-1)).toMatchObject({ id: 99_999, status: 504 });
  expect(sender.logged).toEqual(['no link to a peer: this process is shutting down']);
  await until(() => {
    sender.peers.sweep(systemClock.now());
    return sender.up.length === 2;
  });
});

test('without a key loopback addresses are trusted; with another one nobody is', async () => {
  const open = await listen(realOwner(undefined));
  const trusting = realSender(open.address, undefined);
  await until(() => trusting.up.length === 1);

  const closed = await listen(realOwner(KEY));
  const stranger = realSender(closed.address, undefined);
  await until(() => stranger.logged.length === 1);
  expect(stranger.logged).toEqual(['no link to a peer: it has another cluster key']);
});

test('nobody there, no WebSocket there, no address at all: closed once, with a reason', async () => {
  const app = uws.App();
  const listening = await new Promise<us_listen_socket | false>((resolve) => {
    app.listen('127.0.0.1', 0, resolve);
  });
  const port = uws.us_socket_local_port(listening as us_listen_socket);
  const reasonOf = (address: string): Promise<string> =>
    new Promise((resolve, reject) => {
      openWebSocket(address, { opened: reject, message: reject, closed: resolve });
    });
  expect(await reasonOf(`127.0.0.1:${port}`)).toMatch(/./);
  app.close();
  expect(await reasonOf(`127.0.0.1:${port}`)).toMatch(/ECONNREFUSED/);
  const sender = realSender('no address', KEY);
  expect(sender.logged).toEqual(['no link to a peer: Invalid URL: ws://no address/v1/peer']);
});

test('a wire that was closed says nothing more, in whatever state it was', async () => {
  const owner = realOwner(KEY);
  const { address } = await listen(owner);
  const said: string[] = [];
  const events = {
    opened: () => void said.push('opened'),
    message: () => void said.push('message'),
    closed: () => void said.push('closed'),
  };
  openWebSocket(address, events).close();
  const open: Wire = openWebSocket(address, events);
  await until(() => said.length === 1);
  open.send(new Uint8Array(10));
  open.close();
  open.send(new Uint8Array(10));
  await until(() => owner.byNumber.size === 0);
  expect(said).toEqual(['opened']);
  expect(open.unsent).toBe(0);
});

test('a frame is copied: its bytes are free at once, also while the network takes none', async () => {
  const received: Buffer[] = [];
  const app = uws.App();
  app.ws(PEER_PATH, {
    maxPayloadLength: 1 << 20,
    idleTimeout: 0,
    message: (_, message) => void received.push(Buffer.from(Buffer.from(message))),
  });
  const listening = await new Promise<us_listen_socket | false>((resolve) => {
    app.listen('127.0.0.1', 0, resolve);
  });
  CLEAN_UP.push(() => app.close());
  const wire = await new Promise<Wire>((resolve) => {
    const opened: Wire = openWebSocket(
      `127.0.0.1:${uws.us_socket_local_port(listening as us_listen_socket)}`,
      { opened: () => resolve(opened), message: () => {}, closed: () => {} },
    );
  });
  CLEAN_UP.push(() => wire.close());
  const frame = new Uint8Array(700_000);
  const sizes = Array.from({ length: 60 }, (_, i) => (i % 7 === 0 ? 700_000 : 1 + i * 3_000));
  for (const [i, size] of sizes.entries()) {
    frame.fill(i + 1, 0, size);
    wire.send(frame.subarray(0, size));
  }
  expect(wire.unsent).toBeGreaterThan(1_000_000);
  await until(() => received.length === sizes.length);
  for (const [i, size] of sizes.entries()) {
    expect(received[i].length).toBe(size);
    expect(received[i].every((byte) => byte === i + 1)).toBe(true);
  }
  await until(() => wire.unsent === 0);
});
