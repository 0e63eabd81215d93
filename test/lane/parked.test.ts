import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Buffers } from '../../src/lane/buffers.ts';
import { Parked } from '../../src/lane/parked.ts';
import { BatchBytes, recordBytes, writeRecord } from '../../src/lane/record.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind, Op } from '../../src/op.ts';
import { acquire, LaneRig, type RigLane, setLimits, type SlotOp, SLOTS } from './rig.ts';

function opOf(id: number, receivedAt = id, kind: number = Kind.get): Op {
  const op = new Op();
  op.kind = kind;
  op.id = id;
  op.receivedAt = receivedAt;
  op.bytes = Buffer.alloc(id % 40, id);
  op.keyLength = op.bytes.length;
  return op;
}

function batchOf(ops: readonly Op[], room = 0): BatchBytes {
  const size = ops.reduce((sum, op) => sum + recordBytes(op), 0);
  const batch = new BatchBytes(new ArrayBuffer(size + room));
  for (const op of ops) writeRecord(batch, op);
  return batch;
}

async function serving(seed: number): Promise<{ rig: LaneRig; lane: RigLane }> {
  const rig = await LaneRig.begin(seed);
  const lane = rig.start('p');
  expect(await rig.until(() => lane.served.size === SLOTS, 10_000)).toBe(true);
  return { rig, lane };
}

/** Acquires of locks that no other batch names. */
function acquiresOf(batch: number): SlotOp[] {
  return Array.from({ length: 60 }, (_, i) =>
    acquire(i, `token ${batch} ${i}`.padEnd(22, '-'), { name: `lock ${batch} ${i}` }),
  );
}

describe('ops that wait', () => {
  it('come out as they went in, alone or as the rest of a batch', () => {
    const step = fc.record({
      do: fc.constantFrom('add', 'adopt', 'adopt', 'take', 'take', 'leave', 'expire'),
      ops: fc.integer({ min: 1, max: 9 }),
      from: fc.nat(8),
      room: fc.constantFrom(0, 10, 500),
      late: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const parked = new Parked(new Buffers());
        let wanted: { readonly id: number; readonly at: number }[] = [];
        let id = 0;
        for (const { do: what, ops, from, room, late } of steps) {
          const made = Array.from({ length: ops }, () => opOf(++id, late ? id - 30 : id));
          const words = made.map((op) => ({ id: op.id, at: op.receivedAt }));
          if (what === 'add') {
            for (const op of made) expect(parked.add(op)).toBe(true);
            wanted.push(...words);
          } else if (what === 'adopt') {
            const first = Math.min(from, ops - 1);
            const at = made.slice(0, first).reduce((sum, op) => sum + recordBytes(op), 0);
            expect(parked.adopt(batchOf(made, room), at)).toBe(true);
            wanted.push(...words.slice(first));
          } else if (what === 'take') {
            for (let i = 0; i < ops && wanted.length > 0; i++) {
              const op = parked.peek()!;
              expect([op.id, op.receivedAt, op.bytes[op.keyAt]]).toEqual([
                wanted[0].id,
                wanted[0].at,
                op.keyLength === 0 ? op.bytes[op.keyAt] : op.id & 0xff,
              ]);
              parked.shift();
              wanted.shift();
            }
          } else {
            const leaves =
              what === 'leave' ? (of: number) => of % 3 === 0 : (_: number, at: number) => at <= id - 20;
            const given: number[] = [];
            if (what === 'leave')
              parked.takeOf(
                (op) => leaves(op.id, 0),
                (op) => given.push(op.id),
              );
            else parked.expire(id - 20, (op) => given.push(op.id));
            const left = wanted.filter((one) => leaves(one.id, one.at)).map((one) => one.id);
            expect([...given].sort((a, b) => a - b)).toEqual(left.sort((a, b) => a - b));
            wanted = wanted.filter((one) => !leaves(one.id, one.at));
          }
          expect(parked.count).toBe(wanted.length);
        }
        const rest: number[] = [];
        const heir = new Parked(new Buffers());
        parked.takeAll((chunk) => heir.adopt(chunk, chunk.at));
        for (let op = heir.peek(); op !== undefined; op = heir.peek()) {
          rest.push(op.id);
          heir.shift();
        }
        expect(rest).toEqual(wanted.map((one) => one.id));
      }),
      { numRuns: 300 },
    );
  });

  it('are taken over as a batch only when all of them may wait', () => {
    const parked = new Parked(new Buffers());
    expect(parked.adopt(batchOf([opOf(1), opOf(2, 2, Kind.list), opOf(3)]), 0)).toBe(false);
    setLimits({ parkedOpsMax: 3 });
    expect(parked.adopt(batchOf([1, 2, 3, 4].map((id) => opOf(id))), 0)).toBe(false);
    expect(parked.count).toBe(0);
    expect(parked.adopt(batchOf([1, 2, 3].map((id) => opOf(id))), 0)).toBe(true);
    expect(parked.add(opOf(5))).toBe(false);
  });

  it('are answered in their order once the round has room again', async () => {
    setLimits({ entryBytesMax: 9_000, parkedWholeBytes: 64 });
    const { rig, lane } = await serving(3);
    const ids: number[] = [];
    for (let batch = 0; batch < 12; batch++) {
      const ops = Array.from({ length: 40 }, (_, i) => acquire(i, `token ${batch} ${i}`.padEnd(22, '-')));
      const turned = ops.map((op) => ({ ...op, kind: 'release' as const }));
      ids.push(...lane.send(ops), ...lane.send(turned));
    }
    expect(await rig.until(() => ids.every((id) => lane.answers.has(id)), 5_000)).toBe(true);
    const wanted = Array.from({ length: 12 }, () => [
      ...Array<number>(40).fill(201),
      ...Array<number>(40).fill(204),
    ]).flat();
    expect(ids.map((id) => lane.answers.get(id)!.status)).toEqual(wanted);
    rig.check();
  });

  it('go back to the front when their slots are lost, also those of a whole batch', async () => {
    setLimits({ parkedWholeBytes: 1, entryBytesMax: 9_000 });
    const { rig, lane } = await serving(4);
    lane.connection.partitioned = true;
    const ids = [0, 1, 2, 3, 4].flatMap((batch) => lane.send(acquiresOf(batch)));
    lane.endLeases();
    lane.connection.heal();
    expect(
      await rig.until(() => ids.every((id) => lane.answers.has(id) || lane.bounced.includes(id)), 9_000),
    ).toBe(true);
    expect(lane.bounced.length).toBeGreaterThan(0);
    expect(new Set(lane.bounced).size).toBe(lane.bounced.length);
    rig.checkRun();
  });

  it('are not those of a batch that was routed without knowing the latest: they go back before it is settled', async () => {
    setLimits({ parkedWholeBytes: 1, entryBytesMax: 9_000 });
    const { rig, lane } = await serving(5);
    lane.connection.partitioned = true;
    for (let batch = 0; batch < 4; batch++) lane.send(acquiresOf(batch));
    expect(lane.bounced).toEqual([]);
    const late = lane.send(acquiresOf(4), 0);
    expect(lane.bounced).toEqual(late);
    lane.connection.heal();
    rig.checkRun();
  });
});

it('the bound is a part of a batch', () => {
  expect(LIMITS.parkedWholeBytes).toBeLessThanOrEqual(LIMITS.batchSealBytes / 4);
});
