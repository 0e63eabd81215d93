import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Collector, type LaneGate } from '../../src/batch/collector.ts';
import { BatchBytes, readRecord, recordBytes } from '../../src/lane/record.ts';
import { LIMITS } from '../../src/limits.ts';
import { Op } from '../../src/op.ts';
import { Buffers } from '../../src/lane/buffers.ts';

class Gate implements LaneGate {
  readonly sent: { lane: number; ids: number[]; length: number; seen: number }[] = [];

  /** Connections that it was told of, and how many batches it had got by then. */
  readonly goneBehind: { connection: number; sent: number }[] = [];
  readonly taken: (() => void)[] = [];

  send(lane: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void): void {
    this.taken.push(taken);
    const ids: number[] = [];
    const op = new Op();
    for (let at = 0; at < length; ids.push(op.id)) at = readRecord(new BatchBytes(buffer, length), at, op);
    this.sent.push({ lane, ids, length, seen });
  }

  gone(connection: number): void {
    this.goneBehind.push({ connection, sent: this.sent.length });
  }
}

function opOf(id: number, keyBytes = 3): Op {
  const op = new Op();
  op.id = id;
  op.bytes = new Uint8Array(keyBytes).fill(65);
  op.keyLength = keyBytes;
  return op;
}

test('a turn makes one batch a lane, in the order of arrival', async () => {
  const gate = new Gate();
  const collector = new Collector(2, gate, new Buffers());
  for (const id of [1, 2, 3, 4]) collector.add(id % 2, opOf(id));
  await Promise.resolve();
  expect(gate.sent).toEqual([]);
  await turn();
  expect(gate.sent.map(({ lane, ids }) => [lane, ids])).toEqual([
    [0, [2, 4]],
    [1, [1, 3]],
  ]);
  await turn();
  expect(gate.sent.length).toBe(2);
  collector.add(1, opOf(5));
  await turn();
  expect(gate.sent[2].ids).toEqual([5]);
});

test('a full batch leaves at once and nothing is lost or mixed up', async () => {
  const gate = new Gate();
  const collector = new Collector(1, gate, new Buffers());
  const size = recordBytes(opOf(0, 500));
  const count = Math.ceil((LIMITS.batchSealBytes * 2.5) / size);
  for (let id = 0; id < count; id++) collector.add(0, opOf(id, 500));
  expect(gate.sent.length).toBe(2);
  await turn();
  for (const taken of gate.taken.splice(0)) taken();
  expect(gate.sent.length).toBe(3);
  expect(gate.sent.every(({ length }) => length <= LIMITS.batchSealBytes)).toBe(true);
  expect(gate.sent.flatMap(({ ids }) => ids)).toEqual(Array.from({ length: count }, (_, id) => id));
});

test('a lane that has not taken two batches gets the next one when it takes one', async () => {
  const gate = new Gate();
  const collector = new Collector(1, gate, new Buffers());
  for (const id of [1, 2, 3, 4]) {
    collector.add(0, opOf(id));
    await turn();
  }
  expect(gate.sent.map(({ ids }) => ids)).toEqual([[1], [2]]);
  gate.taken[0]();
  expect(gate.sent.map(({ ids }) => ids)).toEqual([[1], [2], [3, 4]]);
  gate.taken[1]();
  gate.taken[2]();
  expect(gate.sent.length).toBe(3);
  collector.add(0, opOf(5));
  await turn();
  expect(gate.sent[3].ids).toEqual([5]);
});

test('what was routed before an announcement leaves before it is seen', async () => {
  const gate = new Gate();
  const collector = new Collector(2, gate, new Buffers());
  collector.add(0, opOf(1));
  collector.raise(0, 1);
  collector.add(0, opOf(2));
  collector.raise(1, 7);
  collector.add(1, opOf(3));
  expect(gate.sent.map(({ ids, seen }) => [ids, seen])).toEqual([[[1], 0]]);
  await turn();
  expect(gate.sent.slice(1).map(({ lane, ids, seen }) => [lane, ids, seen])).toEqual([
    [0, [2], 1],
    [1, [3], 7],
  ]);
});

test('a lane is told what was seen, also when there is no op for it or it has taken nothing yet', async () => {
  const gate = new Gate();
  const collector = new Collector(1, gate, new Buffers());
  for (const id of [1, 2]) {
    collector.add(0, opOf(id));
    await turn();
  }
  collector.raise(0, 1);
  collector.report(0);
  collector.raise(0, 2);
  collector.report(0);
  await turn();
  expect(gate.sent.slice(2).map(({ ids, length, seen }) => [ids, length, seen])).toEqual([[[], 0, 2]]);
  collector.raise(0, 3);
  collector.report(0);
  collector.add(0, opOf(3));
  await turn();
  expect(gate.sent.slice(3).map(({ ids, seen }) => [ids, seen])).toEqual([[[3], 3]]);
  await turn();
  expect(gate.sent.length).toBe(4);
});

test('that a connection is gone comes behind all that was added before', async () => {
  const gate = new Gate();
  const collector = new Collector(3, gate, new Buffers());
  collector.add(0, opOf(1));
  collector.add(2, opOf(2));
  collector.gone(77);
  collector.add(0, opOf(3));
  expect(gate.goneBehind).toEqual([{ connection: 77, sent: 2 }]);
  await turn();
  expect(gate.sent.map(({ lane, ids }) => [lane, ids])).toEqual([
    [0, [1]],
    [2, [2]],
    [0, [3]],
  ]);
});
