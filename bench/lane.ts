/**
 * What a lane alone costs an op, on one core, in one thread with what feeds it:
 * acquires of random locks and releases of what is held, or renewals, or reads,
 * as fast as it takes them, until as many tokens have ended as are remembered.
 * Nothing is written: a commit takes a time and no more, so rounds have the size
 * that they have over etcd, and what is measured is the lane.
 *
 *   npm run bench:lane -- [pairs|renew|get] [seconds] [open ops] [commit ms]
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../src/clock.ts';
import { Lane } from '../src/lane/lane.ts';
import type { LaneMessage } from '../src/lane/messages.ts';
import { BatchBytes, writeRecord } from '../src/lane/record.ts';
import { LIMITS } from '../src/limits.ts';
import { LaneCounters } from '../src/metrics/counters.ts';
import { Kind, Op } from '../src/op.ts';
import { openStore } from '../src/shard/open.ts';
import type { ShardStore } from '../src/shard/store.ts';
import { openCluster } from '../src/slots/birth.ts';
import { hashBytes, type HashKey, parseHashKey, slotOf } from '../src/slots/hash.ts';

const NAMES = 131_072;
const NAME_BYTES = 21;
const TOKEN_BYTES = 16;
const OPS_A_BATCH = 64;
/** Longer than ended tokens are remembered, so that as many are there as in service. */
const WARM_UP_S = 18;

const shard = { name: 's0', engine: 'embedded', endpoints: [], weight: 1 } as const;

/** Prepared ops on all names in random order; `write` puts the next of them into a batch. */
class Feed {
  private readonly texts = new Uint8Array(NAMES * (NAME_BYTES + TOKEN_BYTES));
  private readonly view = new DataView(this.texts.buffer);
  private readonly hashes = new Uint32Array(NAMES);
  private readonly op = new Op();
  private id = 0;

  constructor(key: HashKey) {
    const order = Uint32Array.from({ length: NAMES }, (_, i) => i);
    for (let i = NAMES - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    order.forEach((name, i) => {
      const at = i * (NAME_BYTES + TOKEN_BYTES);
      this.texts.set(Buffer.from(`load/${String(name).padStart(NAME_BYTES - 5, '0')}`), at);
      this.hashes[i] = hashBytes(this.texts, at, NAME_BYTES, key);
    });
    this.op.bytes = this.texts;
    this.op.keyLength = NAME_BYTES;
    this.op.tokenLength = TOKEN_BYTES;
    this.op.ttlMs = 30_000;
    this.op.connection = 1;
  }

  /** Ops of `kind` for the `n`th and the following locks of an endless round over all names. */
  write(batch: BatchBytes, kind: Kind, n: number): void {
    const { op } = this;
    op.receivedAt = systemClock.now();
    op.kind = kind;
    for (let i = n; i < n + OPS_A_BATCH; i++) {
      const place = i % NAMES;
      op.keyAt = place * (NAME_BYTES + TOKEN_BYTES);
      op.tokenAt = op.keyAt + NAME_BYTES;
      if (kind === Kind.acquire) {
        this.view.setUint32(op.tokenAt, Math.imul(i, 0x9e3779b1));
        this.view.setUint32(op.tokenAt + 4, Math.floor(i / NAMES));
      }
      op.hash = this.hashes[place];
      op.slot = slotOf(op.hash, LIMITS.slots);
      op.id = this.id = (this.id + 1) >>> 0;
      writeRecord(batch, op);
    }
  }
}

/** The store, but commits are not written: they take `commitMs` and nothing else. */
function withoutJournal(store: ShardStore, commitMs: number): ShardStore {
  let revision = 0;
  const own: Partial<ShardStore> = {
    commit: async ({ expectedRevision }) => {
      if (commitMs > 0) await sleep(commitMs);
      revision = expectedRevision + 1;
      return { succeeded: true, revision };
    },
    confirm: async (key) => {
      await sleep(commitMs);
      return revision || store.confirm(key);
    },
  };
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(own, name) ?? Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

class Bed {
  lane!: Lane;
  owned = 0;
  private answers = 0;
  private feed!: Feed;
  private readonly spare: ArrayBuffer[] = [];
  private sent = 0;
  private readonly openOps: number;

  constructor(openOps: number) {
    this.openOps = openOps;
  }

  async start(folder: string, commitMs: number): Promise<void> {
    const store = openStore(shard, folder);
    const cluster = await openCluster([store], { slots: LIMITS.slots, shards: [shard] }, (bytes) =>
      randomBytes(bytes).toString('hex'),
    );
    this.feed = new Feed(parseHashKey(cluster.hashKey));
    this.lane = new Lane({
      lane: 0,
      lanes: 1,
      process: { id: 'bench', address: '', version: '0' },
      stores: [withoutJournal(store, commitMs)],
      slots: LIMITS.slots,
      clock: systemClock,
      keeper: { keep() {}, drop() {} },
      counters: new LaneCounters(new SharedArrayBuffer(LaneCounters.bytes(1)), ['s0']),
      requestTimeoutMs: LIMITS.requestTimeoutMsDefault,
      randomHex: (bytes) => randomBytes(bytes).toString('hex'),
      emit: (message) => this.hear(message),
      onProgress() {},
      mainBeats: () => systemClock.now(),
    });
    this.lane.start();
    while (this.owned < LIMITS.slots) await sleep(20);
  }

  private hear(message: LaneMessage): void {
    if (message.kind === 'owned') this.owned += message.slots.length;
    if (message.kind !== 'answers') return;
    this.spare.push(message.buffer, ...message.spare);
    const view = new DataView(message.buffer);
    for (let at = 0; at < message.length;) {
      const end = at + 8 + view.getUint32(at + 4, true);
      for (at += 8; at < end; at += view.getUint16(at, true)) this.answers++;
    }
  }

  send(kind: Kind, n: number): void {
    const buffer = this.spare.pop() ?? new ArrayBuffer(LIMITS.batchSealBytes);
    const batch = new BatchBytes(buffer);
    this.feed.write(batch, kind, n);
    this.lane.submit(buffer, batch.length, Number.MAX_SAFE_INTEGER);
  }

  /** Keeps `openOps` ops under way; `next(i)` sends the i-th batch. Ops answered a second, µs of processor time for each. */
  async run(seconds: number, next: (i: number) => void): Promise<{ rate: number; cpuUs: number }> {
    const started = systemClock.now();
    const before = this.answers;
    const cpu = process.cpuUsage();
    while (systemClock.now() < started + 1_000 * seconds) {
      for (let i = 0; i < 16 && this.sent - this.answers < this.openOps; i++) {
        next(this.sent / OPS_A_BATCH);
        this.sent += OPS_A_BATCH;
      }
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    const used = process.cpuUsage(cpu);
    const ops = this.answers - before;
    return { rate: ops / seconds, cpuUs: (used.user + used.system) / ops };
  }
}

const [kind = 'pairs', seconds = '8', openOps = '4096', commitMs = '2'] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
const bed = new Bed(Number(openOps));
try {
  await bed.start(folder, Number(commitMs));
  const held = Number(openOps) / OPS_A_BATCH + 1;
  const pairs = (i: number) => {
    const n = Math.floor(i / 2);
    if (i % 2 === 0) bed.send(Kind.acquire, n * OPS_A_BATCH);
    else bed.send(n < held ? Kind.get : Kind.release, Math.max(0, n - held) * OPS_A_BATCH);
  };
  const one = kind === 'renew' ? Kind.renew : Kind.get;
  if (kind !== 'pairs') {
    for (let i = 0; i < NAMES; i += OPS_A_BATCH) {
      bed.send(Kind.acquire, i);
      if (i % 4_096 === 0) await sleep(10);
    }
  }
  const next = kind === 'pairs' ? pairs : (i: number) => bed.send(one, i * OPS_A_BATCH);
  await bed.run(kind === 'pairs' ? WARM_UP_S : 3, next);
  const { rate, cpuUs } = await bed.run(Number(seconds), next);
  console.log(`${kind}: ${Math.round(rate)} ops/s, ${cpuUs.toFixed(2)} µs of processor time an op`);
} finally {
  bed.lane.kill();
  await rm(folder, { recursive: true });
}
process.exit(0);
