/**
 * A worker thread on a shard that others have open too. It commits `rounds`
 * times on a chain of its own, and between commits raises a number that all
 * threads share, by compare and put. Posts every revision it was given.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { openEmbeddedStore } from '../../../src/shard/embedded/store.ts';
import { COMMIT_HEADROOM, type ShardStore } from '../../../src/shard/store.ts';

export interface ThreadTask {
  readonly folder: string;
  readonly name: string;
  readonly rounds: number;
}

const { folder, name, rounds } = workerData as ThreadTask;
const store = openEmbeddedStore({ name: 's0', folder });
const revisions: number[] = [];
const term = `term/${name}`;

const made = await store.txn({
  compares: [{ key: term, modRevision: 0 }],
  changes: [{ put: term, value: Buffer.from('0') }],
});
revisions.push(made.revision);
let last = made.revision;
for (let seq = 1; seq <= rounds; seq++) {
  const buffer = new Uint8Array(COMMIT_HEADROOM + 5_000).fill(seq & 255);
  const done = await store.commit({
    termKey: term,
    expectedRevision: last,
    termValue: Buffer.from(String(seq)),
    journalKey: `journal/${name}/${String(seq).padStart(12, '0')}`,
    buffer,
    entryAt: COMMIT_HEADROOM,
    entryEnd: buffer.length,
    changes: [],
  });
  if (!done.succeeded || (await store.confirm(term)) !== done.revision)
    throw new Error(`chain broken at ${seq}`);
  revisions.push(done.revision);
  last = done.revision;
  revisions.push(await raise(store));
}
await store.close();
parentPort!.postMessage(revisions);

async function raise(store: ShardStore): Promise<number> {
  for (;;) {
    const found = await store.get('shared');
    const value = Buffer.from(String(Number(Buffer.from(found?.value ?? []).toString()) + 1));
    const compares = [{ key: 'shared', modRevision: found?.modRevision ?? 0 }];
    const result = await store.txn({ compares, changes: [{ put: 'shared', value }] });
    if (result.succeeded) return result.revision;
  }
}
