/** Watches and leases, as every store must do them. */
import { expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import type { Change } from '../../src/shard/store.ts';
import { failureOf, Seen, string, text } from './scene.ts';
import type { Scene, StoreFacts } from './scene.ts';

export function describeWatches(scene: () => Scene, facts: StoreFacts): void {
  if (facts.everyChange)
    it('shows every change of a range in order, from a revision on', async () => {
      const s = scene();
      const before = await s.put('a');
      await s.put('b');
      const seen = new Seen(s);
      const watch = s.store.watch(s.folder, s.end, before, seen.onEvents, seen.onReset);
      await seen.count(1);
      await s.put('c', 'd');
      await s.store.txn({ compares: [], changes: [{ delete: s.key('a') }] });
      await s.store.txn({ compares: [], changes: [{ put: `${s.end}outside`, value: text('x') }] });
      const last = await s.put('c');
      await seen.count(5);
      watch.close();
      await s.put('after close');
      expect(seen.lines.slice(0, 1)).toEqual(['b=b']);
      expect(seen.lines.slice(1, 3).sort()).toEqual(['c=c', 'd=d']);
      expect(seen.lines.slice(3)).toEqual(['a gone', 'c=c']);
      expect(seen.events[4].modRevision).toBe(last);
      expect(seen.resets).toEqual([]);
    });

  it('a watch ends up at the state of the store, in the order of revisions', async () => {
    const s = scene();
    const before = await s.put('a');
    const seen = new Seen(s);
    const watch = s.store.watch(s.folder, s.end, before, seen.onEvents, seen.onReset);
    for (let i = 0; i < 20; i++) await s.put(`k${i % 3}`);
    await s.store.txn({ compares: [], changes: [{ delete: s.key('a') }, { delete: s.key('k1') }] });
    await s.put('last');
    const told = () => ['last=last', 'a gone'].every((line) => seen.lines.includes(line));
    await expect.poll(told, { timeout: 10_000 }).toBe(true);
    watch.close();
    const state = new Map<string, string | undefined>();
    for (const [i, event] of seen.events.entries()) {
      expect(event.modRevision).toBeGreaterThanOrEqual(seen.events[Math.max(0, i - 1)].modRevision);
      if (event.value === undefined) state.delete(event.key);
      else state.set(event.key, string(event.value));
    }
    const page = await s.store.range(s.folder, s.end, { limit: 100 });
    expect([...state].sort()).toEqual(page.entries.map((entry) => [entry.key, string(entry.value)]));
  });
}

export function describeMoreWatches(scene: () => Scene, facts: StoreFacts): void {
  it('two watches do not disturb each other', async () => {
    const s = scene();
    const at = await s.put('x');
    const one = new Seen(s);
    const two = new Seen(s);
    const first = s.store.watch(s.key('a'), s.key('b'), at, one.onEvents, one.onReset);
    const second = s.store.watch(s.key('b'), s.key('c'), at, two.onEvents, two.onReset);
    await s.put('a1', 'b1');
    await Promise.all([one.count(1), two.count(1)]);
    first.close();
    await s.put('a2', 'b2');
    await expect.poll(() => two.lines.includes('b2=b2'), { timeout: 10_000, interval: 5 }).toBe(true);
    second.close();
    // A store that does not show every change may say one twice.
    const told = (lines: string[]) => (facts.everyChange ? lines : [...new Set(lines)]);
    expect(told(one.lines)).toEqual(['a1=a1']);
    expect(told(two.lines)).toEqual(['b1=b1', 'b2=b2']);
  });

  if (facts.history)
    it('says so when what it should show is compacted away', async () => {
      const s = scene();
      const old = await s.put('a');
      await s.put('b');
      const now = await s.put('c');
      await s.store.compact(now);
      const seen = new Seen(s);
      s.store.watch(s.folder, s.end, old, seen.onEvents, seen.onReset);
      await expect.poll(() => seen.resets.length, { timeout: 5_000 }).toBe(1);
      expect(seen.events).toEqual([]);
      const again = new Seen(s);
      const watch = s.store.watch(s.folder, s.end, now, again.onEvents, again.onReset);
      await s.put('d');
      await again.count(1);
      watch.close();
    });
}

export function describeLeases(scene: () => Scene, facts: StoreFacts): void {
  it('a commit keeps the lease of the term key; revoking the lease deletes it', async () => {
    const s = scene();
    const lease = await s.store.grantLease(LIMITS.leaseTtlMs);
    const { revision } = await s.store.txn({
      compares: [{ key: s.key('term/t1'), modRevision: 0 }],
      changes: [{ put: s.key('term/t1'), value: text('seq 0'), lease }],
    });
    const done = await s.commit(1, revision);
    expect(done.succeeded).toBe(true);
    await s.store.revokeLease(lease);
    if (!facts.leases) return;
    expect(await s.names()).toEqual(['journal/t1/000000000001']);
    expect(await s.store.confirm(s.key('term/t1'))).toBe(0);
    expect((await s.commit(2, done.revision)).succeeded).toBe(false);
  });

  it('revoking a lease twice is not an error', async () => {
    const s = scene();
    const lease = await s.store.grantLease(LIMITS.leaseTtlMs);
    await s.store.revokeLease(lease);
    await s.store.revokeLease(lease);
  });

  if (facts.leases)
    it('a lease that nobody keeps ends, and its keys with it', async () => {
      const s = scene();
      const at = await s.put('x');
      const seen = new Seen(s);
      const watch = s.store.watch(s.folder, s.end, at, seen.onEvents, seen.onReset);
      const lease = await s.store.grantLease(1_000);
      await s.store.txn({ compares: [], changes: [{ put: s.key('term/t1'), value: text('v'), lease }] });
      await seen.count(2);
      watch.close();
      expect(seen.lines).toEqual(['term/t1=v', 'term/t1 gone']);
    }, 15_000);

  if (facts.leases)
    it('refuses a put on a lease that does not exist', async () => {
      const s = scene();
      const changes: Change[] = [{ put: s.key('a'), value: text('v'), lease: '4711' }];
      expect((await failureOf(s.store.txn({ compares: [], changes }))).outcome).toBe('refused');
      const first = await s.term();
      expect((await failureOf(s.commit(1, first, text('x'), changes))).outcome).toBe('refused');
      expect(await s.names()).toEqual(['term/t1']);
    });
}
