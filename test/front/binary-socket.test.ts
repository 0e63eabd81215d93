import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind, OpFlag, PING } from '../../src/op.ts';
import { Section } from '../../src/protocol/answer.ts';
import { expectQuiet } from './calls.ts';
import { type Rig, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf } from './sockets.ts';

const SOON = { timeout: 5_000, interval: 5 };

const NO_ID = 0xffff_ffff;
const TOKEN = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
let rig: Rig;
let client: Client;
let names = 0;

beforeAll(async () => {
  rig = await startRig();
});

beforeEach(async () => {
  client = await Client.open(rig.url, 'holdfast.v1.bin');
});

afterEach(async () => {
  client.ws.close();
  await client.end();
  await vi.waitFor(() => expectQuiet(rig), SOON);
});

afterAll(() => rig.stop());

test('a lock from acquire to release', async () => {
  const name = `bin-${names++}`;
  client.ws.send(frameOf({ id: 1, name, flags: OpFlag.full, owner: 'me', ttlMs: 5_000 }));
  const [taken] = await binaryAnswers(client, 1);
  expect(taken).toMatchObject({
    id: 1,
    status: 201,
    code: 0,
    sections: Section.claim | Section.token | Section.labels,
    owner: 'me',
  });
  expect(taken.lockToken).toMatch(/^[0-9a-f-]{36}$/);
  const { lockToken: token, fencingToken } = taken;
  client.ws.send(frameOf({ id: 2, name, token: TOKEN }, { id: 3, name, token }));
  const [held, again] = await binaryAnswers(client, 2);
  expect(held).toMatchObject({
    id: 2,
    status: 409,
    code: CODES.lock_held.wire,
    sections: Section.holder | Section.queue,
    owner: 'me',
    fencingToken,
  });
  expect(again).toMatchObject({ id: 3, status: 200, sections: Section.claim, fencingToken });
  client.ws.send(
    frameOf(
      { kind: Kind.renew, id: 4, name, token },
      { kind: Kind.get, id: 5, name },
      { kind: Kind.verify, id: 6, name, fencingToken },
      { kind: Kind.verify, id: 7, name, token: TOKEN },
      { kind: Kind.release, id: 8, name, token },
      { kind: Kind.release, id: 9, name, token },
    ),
  );
  const answers = await binaryAnswers(client, 6);
  expect(answers.map(({ id, status }) => [id, status])).toEqual([
    [4, 200],
    [5, 200],
    [6, 200],
    [7, 200],
    [8, 204],
    [9, 410],
  ]);
  expect([answers[2].answer.current, answers[3].answer.current]).toEqual([true, false]);
});

test('the requests of one turn make one batch, the answers of one round one frame', async () => {
  const before = rig.lane.batches;
  client.ws.send(
    frameOf(...Array.from({ length: 64 }, (_, id) => ({ id, name: `turn-${names}-${id}`, token: TOKEN }))),
  );
  await client.until(() => client.frames.length > 0);
  expect(rig.lane.batches - before).toBe(1);
  expect((await binaryAnswers(client, 64)).map(({ status }) => status)).toEqual(new Array(64).fill(201));
  expect(client.frames.length).toBe(0);
});

test('a ping is answered by the front', async () => {
  rig.lane.silent = true;
  client.ws.send(frameOf({ kind: PING, id: 77 }));
  expect(await binaryAnswers(client, 1)).toMatchObject([{ id: 77, status: 200, code: 0, sections: 0 }]);
});

test('a wrong request spoils only itself and says why', async () => {
  client.ws.send(
    frameOf({ id: 1, name: '.' }, { kind: Kind.get, id: 2, name: 'fine' }, { id: 3, name: 'a', ttlMs: 5 }),
  );
  const answers = await binaryAnswers(client, 3);
  const byId = new Map(answers.map((answer) => [answer.id, answer]));
  expect(byId.get(1)).toMatchObject({ status: 400, code: CODES.bad_request.wire, sections: Section.detail });
  expect(byId.get(1)?.detail).toContain('"."');
  expect(byId.get(2)).toMatchObject({ status: 200 });
  expect(byId.get(3)?.detail).toContain('ttlMs');
});

describe('frames that cannot be read end the socket, with a word', () => {
  test('sizes that do not add up: nothing of the frame is done', async () => {
    const frame = frameOf({ id: 1, name: 'never' }, { id: 2, name: 'never-too' });
    frame.writeUInt16LE(frame.readUInt16LE(0) + 1, 0);
    const before = rig.lane.ops;
    client.ws.send(frame);
    expect(await binaryAnswers(client, 1)).toMatchObject([
      { id: NO_ID, status: 400, code: CODES.bad_request.wire },
    ]);
    expect((await client.end()).code).toBe(1007);
    expect(rig.lane.ops).toBe(before);
  });

  test('an empty frame', async () => {
    client.ws.send(Buffer.alloc(0));
    expect((await binaryAnswers(client, 1))[0].id).toBe(NO_ID);
    expect((await client.end()).code).toBe(1007);
  });

  test('a text frame', async () => {
    client.ws.send('{"id":1,"op":"ping"}');
    expect((await binaryAnswers(client, 1))[0]).toMatchObject({ id: NO_ID, status: 400 });
    expect((await client.end()).code).toBe(1003);
  });

  test('a frame over the limit', async () => {
    client.ws.send(Buffer.alloc(LIMITS.frameBytesMax + 1));
    expect((await binaryAnswers(client, 1))[0]).toMatchObject({
      id: NO_ID,
      status: 413,
      code: CODES.too_large.wire,
    });
    expect((await client.end()).code).toBe(1009);
  });

  test('a frame of exactly the limit is taken', async () => {
    const one = frameOf({ kind: Kind.get, id: 5, name: 'n'.repeat(502) });
    expect(one.length).toBe(512);
    client.ws.send(Buffer.concat(new Array<Buffer>(LIMITS.frameBytesMax / 512).fill(one)));
    expect((await binaryAnswers(client, 2_048)).every(({ id, status }) => id === 5 && status === 200)).toBe(
      true,
    );
  });
});

test('arbitrary frames are answered or end the socket, and never hurt the next one', async () => {
  const frames = fc.sample(fc.uint8Array({ maxLength: 200 }), 150);
  for (const [i, bytes] of frames.entries()) {
    // Half of them with a sound first size, to come further.
    if (i % 2 === 0 && bytes.length >= 8)
      new DataView(bytes.buffer, bytes.byteOffset).setUint16(0, bytes.length, true);
    const other = await Client.open(rig.url, 'holdfast.v1.bin');
    other.ws.send(bytes);
    other.ws.send(frameOf({ kind: PING, id: 4_242 }));
    await other.until(() => other.closed !== undefined || other.frames.length >= 1);
    other.ws.close();
    await other.end();
  }
  client.ws.send(frameOf({ kind: PING, id: 1 }));
  expect((await binaryAnswers(client, 1))[0].status).toBe(200);
});

test('too many open requests are refused, each by its id, and the socket goes on', async () => {
  rig.lane.silent = true;
  const count = 16_384;
  const frame = frameOf(...Array.from({ length: count }, (_, id) => ({ kind: Kind.get, id, name: 'a' })));
  for (let i = 0; i < LIMITS.socketRequestsMax / count; i++) client.ws.send(frame);
  client.ws.send(frameOf({ kind: Kind.get, id: 99, name: 'a' }, { kind: Kind.get, id: 100, name: 'a' }));
  const answers = await binaryAnswers(client, 2);
  expect(answers.map(({ id, status, code }) => [id, status, code])).toEqual([
    [99, 503, CODES.overloaded.wire],
    [100, 503, CODES.overloaded.wire],
  ]);
  expect(answers[0].answer.retryAfterMs).toBe(LIMITS.retryAfterMs);
  expect(rig.front.connections.open).toBe(LIMITS.socketRequestsMax);
});

test('a reader that does not read is closed and costs a bounded amount of memory', async () => {
  const { ws } = client;
  const name = 'n'.repeat(500);
  client.ws.send(
    frameOf({ id: 1, name, owner: 'o'.repeat(256), metadata: JSON.stringify({ a: 'x'.repeat(1_000) }) }),
  );
  await binaryAnswers(client, 1);
  // What is read stays in the client's kernel buffer from here on.
  ws.pause();
  const frame = frameOf(...Array.from({ length: 1_000 }, (_, id) => ({ kind: Kind.get, id, name })));
  for (let i = 0; i < 60 && rig.front.sockets > 0; i++) {
    ws.send(frame);
    await sleep(10);
  }
  expect(rig.front.sockets).toBe(0);
  ws.resume();
  ws.terminate();
});
