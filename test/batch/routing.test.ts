import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { Collector } from '../../src/batch/collector.ts';
import { Routing } from '../../src/batch/routing.ts';
import { BatchBytes, readRecord, writeRecord } from '../../src/lane/record.ts';
import { LIMITS } from '../../src/limits.ts';
import { Op } from '../../src/op.ts';
import { Buffers } from '../../src/lane/buffers.ts';

const SLOTS = 4_096;
const TIMEOUT_MS = 1_000;
const ALL = Uint16Array.from({ length: SLOTS }, (_, slot) => slot);

let sent: { lane: number; id: number; slot: number; key: string }[];
let refused: { connection: number; id: number; code: string }[];
let routing: Routing;

beforeEach(() => {
  sent = [];
  refused = [];
  const gate = {
    send(lane: number, buffer: ArrayBuffer, length: number, taken: () => void) {
      taken();
      const op = new Op();
      for (let at = 0; at < length;) {
        at = readRecord(new BatchBytes(buffer, length), at, op);
        const key = Buffer.from(op.bytes.slice(op.keyAt, op.keyAt + op.keyLength)).toString();
        sent.push({ lane, id: op.id, slot: op.slot, key });
      }
    },
  };
  const settings = {
    slots: SLOTS,
    hashKey: { k0: 7, k1: 8 },
    shards: ['s0', 's1'],
    requestTimeoutMs: TIMEOUT_MS,
  };
  routing = new Routing(new Collector(3, gate, new Buffers()), settings);
  routing.answerWith({ refuse: (connection, id, code) => refused.push({ connection, id, code }) });
});

function submit(key: string, id: number, receivedAt = 0): void {
  const op = new Op();
  op.bytes = Buffer.from(key);
  op.keyLength = op.bytes.length;
  op.id = id;
  op.connection = 5;
  op.receivedAt = receivedAt;
  routing.submit(op);
}

function own(lane: number, slots: Uint16Array, shard = 's0'): void {
  routing.ownership(lane, { kind: 'owned', shard, term: 't', slots });
}

function lose(lane: number, slots: Uint16Array, shard = 's0'): void {
  routing.ownership(lane, { kind: 'lost', shard, term: 't', slots });
}

test('an op goes to the lane that owns its slot', async () => {
  own(0, ALL.subarray(0, 2_048));
  own(2, ALL.subarray(2_048), 's1');
  for (let id = 0; id < 200; id++) submit(`lock-${id}`, id);
  await turn();
  expect(sent.length).toBe(200);
  expect(new Set(sent.map(({ lane }) => lane))).toEqual(new Set([0, 2]));
  for (const { lane, slot } of sent) expect(lane).toBe(slot < 2_048 ? 0 : 2);
});

test('names with one tag share a slot', async () => {
  own(0, ALL);
  for (const [id, name] of ['{order-7}', '{order-7}/stock', 'a{order-7}b', 'order-7'].entries())
    submit(name, id);
  await turn();
  const [a, b, c, d] = sent.map(({ slot }) => slot);
  expect([b, c]).toEqual([a, a]);
  expect(d).toBe(a);
});

test('ops without an owner wait and leave in their order once it is known', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 200 }), async (names) => {
      lose(0, ALL);
      sent = [];
      for (const [id, name] of names.entries()) submit(`lock-${name}`, id);
      await turn();
      expect(sent).toEqual([]);
      own(0, ALL);
      submit('lock-0', names.length);
      await turn();
      expect(sent.length).toBe(names.length + 1);
      for (const name of new Set(names)) {
        const ids = sent.filter(({ key }) => key === `lock-${name}`).map(({ id }) => id);
        expect(ids).toEqual([...ids].sort((a, b) => a - b));
      }
    }),
    { numRuns: 30 },
  );
  expect(refused).toEqual([]);
});

test('what waited for its whole time-out is answered `moving`, the rest stays', async () => {
  submit('old', 1, 0);
  submit('old', 2, 500);
  routing.sweep(TIMEOUT_MS);
  expect(refused).toEqual([]);
  routing.sweep(TIMEOUT_MS + 1);
  expect(refused).toEqual([{ connection: 5, id: 1, code: 'moving' }]);
  own(1, ALL);
  await turn();
  expect(sent.map(({ lane, id }) => [lane, id])).toEqual([[1, 2]]);
});

test('what waited in vain is told when its shard is down', () => {
  const codes = (): string[] => refused.splice(0).map(({ code }) => code);
  const wait = (): string[] => {
    submit('a', 1, 0);
    routing.sweep(TIMEOUT_MS + 1);
    return codes();
  };
  routing.shardDown('s1', true);
  expect(wait()).toEqual(['shard_unavailable']);
  own(0, ALL, 's0');
  lose(0, ALL, 's0');
  expect(wait()).toEqual(['moving']);
  own(0, ALL, 's1');
  lose(0, ALL, 's1');
  expect(wait()).toEqual(['shard_unavailable']);
  routing.shardDown('s1', false);
  expect(wait()).toEqual(['moving']);
});

test('more than can be parked is refused as overloaded, at once', () => {
  for (let id = 0; id < LIMITS.parkedOpsMax + 2; id++) submit('a', id);
  expect(refused).toEqual([
    { connection: 5, id: LIMITS.parkedOpsMax, code: 'overloaded' },
    { connection: 5, id: LIMITS.parkedOpsMax + 1, code: 'overloaded' },
  ]);
});

test('a slot that another lane took meanwhile is not lost by a late word of the first', async () => {
  own(0, ALL);
  own(1, ALL);
  lose(0, ALL);
  expect(routing.ownedCount).toBe(SLOTS);
  submit('a', 1);
  await turn();
  expect(sent[0].lane).toBe(1);
  lose(1, ALL);
  expect(routing.ownedCount).toBe(0);
});

test('records that a lane sends back are routed anew, unless they are too old', async () => {
  const batch = new BatchBytes(new ArrayBuffer(1_000));
  for (const [id, receivedAt] of [0, 900].entries()) {
    const op = new Op();
    op.bytes = Buffer.from('abc');
    op.keyLength = 3;
    op.id = id;
    op.connection = 9;
    op.slot = 17;
    op.receivedAt = receivedAt;
    writeRecord(batch, op);
  }
  routing.bounced(batch.bytes.buffer as ArrayBuffer, batch.length, TIMEOUT_MS);
  expect(refused).toEqual([{ connection: 9, id: 0, code: 'moving' }]);
  own(2, ALL);
  await turn();
  expect(sent).toEqual([{ lane: 2, id: 1, slot: 17, key: 'abc' }]);
});

test('it counts what is owned, by lane and shard', () => {
  own(0, ALL.subarray(0, 10));
  own(2, ALL.subarray(10, 15), 's1');
  expect([...routing.ownedBy(3)]).toEqual([10, 0, 0, 0, 0, 5]);
});
