/**
 * A process that commits without end on one chain and says the seq of each
 * commit that was acknowledged, a line each, until it is killed.
 *
 *   node committer.js <folder>
 */
import { writeSync } from 'node:fs';
import { openEmbeddedStore } from '../../../src/shard/embedded/store.ts';
import { COMMIT_HEADROOM } from '../../../src/shard/store.ts';
import { chainEntry, JOURNAL, TERM, termValue } from './chain.ts';

const store = openEmbeddedStore({ name: 's0', folder: process.argv[2]! });

const found = await store.get(TERM);
let last = found?.modRevision ?? 0;
let seq = found === undefined ? 0 : Number(Buffer.from(found.value).toString());
if (found === undefined) {
  const made = await store.txn({ compares: [], changes: [{ put: TERM, value: termValue(0) }] });
  last = made.revision;
}
for (;;) {
  seq++;
  const entry = chainEntry(seq);
  const buffer = new Uint8Array(COMMIT_HEADROOM + entry.length);
  buffer.set(entry, COMMIT_HEADROOM);
  const done = await store.commit({
    termKey: TERM,
    expectedRevision: last,
    termValue: termValue(seq),
    journalKey: JOURNAL + String(seq).padStart(12, '0'),
    buffer,
    entryAt: COMMIT_HEADROOM,
    entryEnd: buffer.length,
    // As a lane does: checkpoints come, old ones go.
    changes:
      seq % 7 === 0
        ? [
            { put: 'checkpoint', value: entry },
            { delete: 'old', upTo: 'ole' },
          ]
        : [],
  });
  if (!done.succeeded) throw new Error(`commit ${seq} found another revision than ${last}`);
  last = done.revision;
  writeSync(1, `${seq}\n`);
}
