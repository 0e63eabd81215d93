/**
 * A case that seeds hardly ever reach, played by hand: a commit is applied, its
 * reply is lost, and the term ends before the chain is settled. The entry
 * counts, and the term has to know that it is over: its key's revision is 0
 * now, which must not be taken for the revision it left there.
 */
import { expect, it } from 'vitest';
import { Term } from '../../src/lane/term.ts';
import { COMMIT_HEADROOM } from '../../src/shard/store.ts';
import { CALM, ModelConnection } from './model-connection.ts';
import { ModelStore } from './model-store.ts';
import { Random } from './random.ts';
import { Domain, Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

it('does nothing more after its end was seen together with its last entry', async () => {
  const scheduler = new Scheduler(new Random(1));
  const store = new ModelStore(scheduler, new Random(2), 's0');
  const domain = new Domain('lane');
  const clock = new SimClock(scheduler, new Random(3), 1).for(domain);
  const connection = new ModelConnection(scheduler, new Random(4), store, 'lane', { domain, clock }, CALM);
  /** What the call ended as within `ms`, undefined: not yet. */
  const play = async (call: Promise<unknown>, ms: number): Promise<unknown> => {
    let end: unknown;
    const ended = (how: unknown) => (end = how);
    call.then(ended, ended);
    await scheduler.run(scheduler.now + ms);
    return end;
  };
  const observer = { doubt: () => undefined, settled: () => undefined };
  const keeper = { keep: () => undefined, drop: () => undefined };
  const process = { id: 'p', address: 'p:1', version: 'sim' };
  const begun = Term.begin(connection, clock, observer, keeper, {
    process,
    lane: 0,
    id: '00000000000000aa',
  });
  const term = (await play(begun, 100)) as Term;
  const entry = {
    buffer: new Uint8Array(COMMIT_HEADROOM + 1),
    at: COMMIT_HEADROOM,
    end: COMMIT_HEADROOM + 1,
    changes: [],
  };

  connection.deaf = true;
  const commit = term.commit(entry);
  expect(await play(commit, 100)).toBeUndefined();
  store.endLease(store.leases[0], 'test');
  connection.deaf = false;
  expect(await play(commit, 10_000)).toBe('committed');

  const writes = store.log.length;
  expect(await play(term.confirm(), 1_000)).toBe(false);
  expect(await play(term.commit(entry), 1_000)).toBe('lost');
  expect(store.log).toHaveLength(writes);
});
