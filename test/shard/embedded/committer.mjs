/**
 * Commits without end on one chain and says the seq of each commit that was
 * acknowledged, a line each, until it is killed.
 *
 *   node committer.mjs <compiled store> <folder>
 */
import { writeSync } from 'node:fs';
import { chainEntry, JOURNAL, TERM, termValue } from './chain.mjs';

const [, , storePath, folder] = process.argv;
const { openEmbeddedStore } = await import(storePath);
const store = openEmbeddedStore({ name: 's0', folder });

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
  const buffer = new Uint8Array(2048 + entry.length);
  buffer.set(entry, 2048);
  const done = await store.commit({
    termKey: TERM,
    expectedRevision: last,
    termValue: termValue(seq),
    journalKey: JOURNAL + String(seq).padStart(12, '0'),
    buffer,
    entryAt: 2048,
    entryEnd: buffer.length,
    // As a lane does: checkpoints come, old ones go.
    changes: seq % 7 === 0 ? [{ put: 'checkpoint', value: entry }, { delete: 'old', upTo: 'ole' }] : [],
  });
  if (!done.succeeded) throw new Error(`commit ${seq} found another revision than ${last}`);
  last = done.revision;
  writeSync(1, `${seq}\n`);
}
