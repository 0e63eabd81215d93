/**
 * What the hand-written commit is worth: 30 KB entries, one in flight, on a
 * real etcd with fsync, over the store's own way and over etcd3 (grpc-js), in
 * turns within one run.
 *
 *   npx tsc -p tsconfig.bench.json && node build/bench/commit.js [seconds per turn]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd3 } from 'etcd3';
import { build } from 'hdr-histogram-js';
import type { Histogram } from 'hdr-histogram-js';
import { startEtcd } from '../src/cli/etcd-server.ts';
import { LIMITS } from '../src/limits.ts';
import { openEtcdStore } from '../src/shard/etcd/store.ts';
import { COMMIT_HEADROOM } from '../src/shard/store.ts';

const ENTRY_BYTES = 30_000;
const TURNS = 3;
/** Journal keys are used again, so that the store stays small. */
const KEYS = 1_000;
const TERM_KEY = 'holdfast/term/0123456789abcdef';
const TERM_VALUE = Buffer.alloc(200, 't');

const journalKey = (seq: number) =>
  `holdfast/journal/0123456789abcdef/${String(seq % KEYS).padStart(12, '0')}`;

/** Commits on `last` and returns the next revision. */
type CommitOne = (seq: number, last: number) => Promise<number>;

class Way {
  readonly name: string;
  readonly commit: CommitOne;
  readonly histogram: Histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000 });
  commits = 0;
  seconds = 0;
  cpuSeconds = 0;

  constructor(name: string, commit: CommitOne) {
    this.name = name;
    this.commit = commit;
  }

  async turn(last: number, seconds: number, counted: boolean): Promise<number> {
    const started = performance.now();
    const cpu = process.cpuUsage();
    let now = started;
    let revision = last;
    let seq = 0;
    while (now - started < seconds * 1000) {
      revision = await this.commit(seq++, revision);
      const done = performance.now();
      if (counted) this.histogram.recordValue(Math.round((done - now) * 1000));
      now = done;
    }
    if (counted) {
      const used = process.cpuUsage(cpu);
      this.commits += seq;
      this.seconds += (now - started) / 1000;
      this.cpuSeconds += (used.user + used.system) / 1e6;
    }
    return revision;
  }

  row(): Record<string, string | number> {
    const ms = (percentile: number) => (this.histogram.getValueAtPercentile(percentile) / 1000).toFixed(2);
    return {
      way: this.name,
      'commits/s': Math.round(this.commits / this.seconds),
      'P50 ms': ms(50),
      'P95 ms': ms(95),
      'P99 ms': ms(99),
      'client CPU µs/commit': Math.round((this.cpuSeconds / this.commits) * 1e6),
    };
  }
}

function wayOfEtcd3(client: Etcd3, buffer: Uint8Array): Way {
  const value = Buffer.from(buffer.buffer, COMMIT_HEADROOM, ENTRY_BYTES);
  const termKey = Buffer.from(TERM_KEY);
  return new Way('etcd3 (grpc-js)', async (seq, last) => {
    const answer = await client.kv.txn(
      {
        compare: [{ result: 'Equal', target: 'Mod', key: termKey, mod_revision: String(last) }],
        success: [
          { request_put: { key: termKey, value: TERM_VALUE, ignore_lease: true } },
          { request_put: { key: Buffer.from(journalKey(seq)), value } },
        ],
      },
      { deadline: Date.now() + LIMITS.commitTimeoutMs },
    );
    if (!answer.succeeded) throw new Error('a commit was refused');
    return Number(answer.header.revision);
  });
}

async function main(): Promise<void> {
  const seconds = Number(process.argv[2] ?? 5);
  const dataFolder = await mkdtemp(join(tmpdir(), 'holdfast-bench-commit-'));
  const cluster = await startEtcd({ dataFolder });
  const store = openEtcdStore({ name: 's0', engine: 'etcd', endpoints: cluster.endpoints, weight: 1 });
  const client = new Etcd3({ hosts: [...cluster.endpoints] });
  const buffer = new Uint8Array(COMMIT_HEADROOM + ENTRY_BYTES).fill(0x41);
  const place = { buffer, entryAt: COMMIT_HEADROOM, entryEnd: buffer.length };
  const term = { termKey: TERM_KEY, termValue: TERM_VALUE, changes: [] };
  const own = new Way('node:http2, in place', async (seq, last) => {
    const done = await store.commit({
      ...term,
      ...place,
      expectedRevision: last,
      journalKey: journalKey(seq),
    });
    if (!done.succeeded) throw new Error('a commit was refused');
    return done.revision;
  });
  const ways = [own, wayOfEtcd3(client, buffer)];
  let { revision } = await store.txn({ compares: [], changes: [{ put: TERM_KEY, value: TERM_VALUE }] });
  const compactor = setInterval(
    () => void store.compact(revision).catch(() => undefined),
    LIMITS.compactEveryMs,
  );
  try {
    for (const way of ways) revision = await way.turn(revision, 1, false);
    for (let turn = 0; turn < TURNS; turn++) {
      for (const way of ways) revision = await way.turn(revision, seconds, true);
    }
    console.log(
      `etcd ${cluster.binary.version}, entries of ${ENTRY_BYTES} bytes, one in flight, ${TURNS} × ${seconds} s each`,
    );
    console.table(ways.map((way) => way.row()));
  } finally {
    clearInterval(compactor);
    client.close();
    await store.close();
    await cluster.stop();
    await rm(dataFolder, { recursive: true, force: true });
  }
}

await main();
