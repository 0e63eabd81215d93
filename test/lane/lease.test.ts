import { expect, it } from 'vitest';
import { Lane } from '../../src/lane/lane.ts';
import type { LaneMessage, LaneOwnership } from '../../src/lane/messages.ts';
import { BatchBytes, writeRecord } from '../../src/lane/record.ts';
import { LaneCounters } from '../../src/metrics/counters.ts';
import { Kind, Op } from '../../src/op.ts';
import { openCluster } from '../../src/slots/birth.ts';
import { LIMITS } from '../../src/limits.ts';
import { CALM, ModelConnection } from '../sim/model-connection.ts';
import { ModelStore } from '../sim/model-store.ts';
import { Random } from '../sim/random.ts';
import { Domain, Scheduler } from '../sim/scheduler.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { LaneRig, SLOTS as SLOTS_OF_RIG, SOON_MS } from './rig.ts';

const SLOTS = 4_096;

function acquire(): BatchBytes {
  const op = new Op();
  op.kind = Kind.acquire;
  op.bytes = Buffer.concat([Buffer.from('a'), Buffer.alloc(16, 7)]);
  op.keyLength = 1;
  op.tokenAt = 1;
  op.tokenLength = 16;
  const batch = new BatchBytes(new ArrayBuffer(256));
  writeRecord(batch, op);
  return batch;
}

it('a lease is no longer kept once a commit was told that its term is over', async () => {
  const scheduler = new Scheduler(new Random(1));
  const store = new ModelStore(scheduler, new Random(2), 's0');
  const domain = new Domain('lane');
  const clock = new SimClock(scheduler, new Random(3), 1).for(domain);
  const connection = new ModelConnection(scheduler, new Random(4), store, 'lane', { domain, clock }, CALM);
  const random = new Random(5);
  const randomHex = (bytes: number): string => random.hex(bytes);
  const shards = [{ name: 's0', engine: 'etcd', endpoints: [], weight: 1 }] as const;
  const birth = openCluster([connection], { slots: SLOTS, shards }, randomHex);
  await scheduler.run(scheduler.now + 1_000);
  await birth;

  const kept: string[] = [];
  const dropped: string[] = [];
  const messages: LaneMessage[] = [];
  const lane = new Lane({
    lane: 0,
    lanes: 1,
    process: { id: 'p', address: '', version: 'test' },
    stores: [connection],
    slots: SLOTS,
    clock,
    keeper: { keep: (_, lease) => kept.push(lease), drop: (_, lease) => dropped.push(lease) },
    counters: new LaneCounters(new SharedArrayBuffer(LaneCounters.bytes(1)), ['s0']),
    requestTimeoutMs: 8_000,
    randomHex,
    emit: (message) => messages.push(message),
    onProgress: () => undefined,
    mainBeats: () => scheduler.now,
  });
  lane.start();
  await scheduler.run(scheduler.now + 1_000);
  const owned = messages.findLast(({ kind }) => kind === 'owned') as LaneOwnership | undefined;
  expect(owned).toBeDefined();
  expect(kept).toHaveLength(1);

  // Sooner than the lane looks again which terms live: the commit is what tells it.
  store.endLease(kept[0], 'test');
  const batch = acquire();
  lane.submit(batch.bytes.buffer as ArrayBuffer, batch.length, owned!.announcement);
  await scheduler.run(scheduler.now + 1_000);
  expect(messages.some(({ kind }) => kind === 'lost')).toBe(true);
  expect(dropped).toContain(kept[0]);
  lane.kill();
});

it('a lane whose main thread stands still takes nothing back, and has its part again once that gets on', async () => {
  const { rig, lanes } = await LaneRig.settled('a', 'b');
  const [a, b] = lanes;
  a.mainStands = true;
  a.endLeases();
  expect(await rig.until(() => b.served.size === SLOTS_OF_RIG, 2 * LIMITS.settleMs)).toBe(true);
  await rig.run(2 * LIMITS.settleMs);
  expect(a.term).toBe('');
  expect(a.served.size).toBe(0);

  a.mainStands = false;
  await rig.run(LIMITS.settleMs + 1_000 + SOON_MS);
  expect(a.served.size).toBeGreaterThan(0);
  rig.check();
});
