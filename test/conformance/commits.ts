/** The commit chain of a term, as every store must do it. */
import { expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { prefixEnd } from '../../src/shard/store.ts';
import type { Change } from '../../src/shard/store.ts';
import { string, text } from './scene.ts';
import type { Scene } from './scene.ts';

export function describeChain(scene: () => Scene): void {
  it('commits a chain: each on the revision of the one before', async () => {
    const s = scene();
    let last = await s.term();
    for (let seq = 1; seq <= 5; seq++) {
      const done = await s.commit(seq, last, text(`entry ${seq}`));
      expect(done.succeeded).toBe(true);
      expect(done.revision).toBeGreaterThan(last);
      last = done.revision;
    }
    const found = await s.all(100);
    expect(found.map((entry) => string(entry.value))).toEqual(
      [1, 2, 3, 4, 5].map((i) => `entry ${i}`).concat('seq 5'),
    );
    expect(found[found.length - 1].modRevision).toBe(last);
    expect(await s.store.confirm(s.key('term/t1'))).toBe(last);
  });

  it('refuses a commit on another revision, and a late duplicate of one', async () => {
    const s = scene();
    const first = await s.term();
    const done = await s.commit(1, first, text('one'));
    const duplicate = await s.commit(1, first, text('late'));
    expect(duplicate.succeeded).toBe(false);
    expect((await s.commit(2, done.revision + 1)).succeeded).toBe(false);
    expect(string((await s.store.get(s.key('journal/t1/000000000001')))?.value)).toBe('one');
    expect(string((await s.store.get(s.key('term/t1')))?.value)).toBe('seq 1');
    expect(await s.store.confirm(s.key('term/t1'))).toBe(done.revision);
  });

  it('refuses a commit of a term that is gone', async () => {
    const s = scene();
    const first = await s.term();
    await s.store.txn({ compares: [], changes: [{ delete: s.key('term/t1') }] });
    expect((await s.commit(1, first)).succeeded).toBe(false);
    expect(await s.names()).toEqual([]);
    expect(await s.store.confirm(s.key('term/t1'))).toBe(0);
  });
}

export function describeEntries(scene: () => Scene): void {
  it('lets puts and deletions ride along, or none of them', async () => {
    const s = scene();
    await s.put('old1', 'old2', 'gone');
    const first = await s.term();
    const changes: Change[] = [
      { put: s.key('slot'), value: text('record') },
      { put: s.key('chunk'), value: new Uint8Array(200_000).fill(7) },
      { put: s.key('empty'), value: new Uint8Array(0) },
      { delete: s.key('gone') },
      { delete: s.key('old'), upTo: prefixEnd(s.key('old')) },
    ];
    expect((await s.commit(1, first - 1, text('x'), changes)).succeeded).toBe(false);
    expect(await s.names()).toEqual(['gone', 'old1', 'old2', 'term/t1']);
    const done = await s.commit(1, first, text('x'), changes);
    expect(done.succeeded).toBe(true);
    expect(await s.names()).toEqual(['chunk', 'empty', 'journal/t1/000000000001', 'slot', 'term/t1']);
    const chunk = await s.store.get(s.key('chunk'));
    expect(chunk?.value.length).toBe(200_000);
    expect(chunk?.value.every((byte) => byte === 7)).toBe(true);
    expect(chunk?.modRevision).toBe(done.revision);
  });

  it('commits empty entries and entries of the greatest size, byte for byte', async () => {
    const s = scene();
    let last = await s.term();
    for (const [i, size] of [0, 1, 65_535, LIMITS.commitBytesMax].entries()) {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at++) bytes[at] = (at * 31 + i) & 255;
      const commit = s.entry(i, last, bytes);
      const done = await s.store.commit(commit);
      expect(done.succeeded).toBe(true);
      last = done.revision;
      expect(Buffer.compare(commit.buffer.subarray(commit.entryAt, commit.entryEnd), bytes)).toBe(0);
      const found = await s.store.get(commit.journalKey);
      expect(Buffer.compare(found?.value ?? text('absent'), bytes)).toBe(0);
    }
  }, 20_000);

  it('commits and confirms side by side', async () => {
    const s = scene();
    let last = await s.term();
    for (let seq = 1; seq <= 20; seq++) {
      const before = last;
      const [done, seen] = await Promise.all([s.commit(seq, last), s.store.confirm(s.key('term/t1'))]);
      expect(done.succeeded).toBe(true);
      expect([before, done.revision]).toContain(seen);
      last = done.revision;
    }
  });
}
