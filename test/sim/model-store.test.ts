/**
 * The model store against the suite that real stores have to pass, so that what
 * the simulation proves on the model means something; and the faults of its
 * network, each on its own.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { COMMIT_HEADROOM, ShardError } from '../../src/shard/store.ts';
import { describeStore } from '../conformance/describe-store.ts';
import { CALM, ModelConnection, type NetworkFaults } from './model-connection.ts';
import { ModelStore } from './model-store.ts';
import { Random } from './random.ts';
import { Domain, Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

class World {
  readonly scheduler = new Scheduler(new Random(1));
  readonly store = new ModelStore(this.scheduler, new Random(2), 's0');
  #clients = 0;

  connect(faults: Partial<NetworkFaults> = {}, domain = new Domain(`c${++this.#clients}`)): ModelConnection {
    const clock = new SimClock(this.scheduler, new Random(3), 1).for(domain);
    const random = new Random(4, domain.name);
    return new ModelConnection(
      this.scheduler,
      random,
      this.store,
      domain.name,
      { domain, clock },
      { ...CALM, ...faults },
    );
  }
}

const FACTS = { leases: true, history: true, everyChange: true, limitsOps: true, openMs: 5_000 };

describeStore('model', FACTS, async () => {
  const world = new World();
  const start = performance.now();
  let open = true;
  // The suite lives in real time: virtual time follows it.
  const pump = async () => {
    while (open) {
      await world.scheduler.run(performance.now() - start);
      await sleep(1);
    }
  };
  const pumping = pump();
  return {
    store: world.connect(),
    another: () => Promise.resolve(world.connect()),
    async close() {
      open = false;
      await pumping;
    },
  };
});

describe('the model store with faults', () => {
  const put = (key: string, modRevision = 0) => ({
    compares: [{ key, modRevision }],
    changes: [{ put: key, value: new Uint8Array([1]) }],
  });
  let world = new World();
  afterEach(() => {
    world = new World();
  });

  /** How a call ended after `untilMs`, and when. */
  async function endOf(call: Promise<unknown>, untilMs = 20_000): Promise<{ at: number; outcome: string }> {
    let end = { at: Infinity, outcome: 'none' };
    call.then(
      () => (end = { at: world.scheduler.now, outcome: 'done' }),
      (error: unknown) => {
        const outcome = error instanceof ShardError ? error.outcome : String(error);
        end = { at: world.scheduler.now, outcome };
      },
    );
    await world.scheduler.run(world.scheduler.now + untilMs);
    return end;
  }

  it('loses a reply: the call is unknown after its time-out, and was applied', async () => {
    const { at, outcome } = await endOf(world.connect({ loseReply: 1 }).txn(put('k')));
    expect(outcome).toBe('unknown');
    expect(at).toBeGreaterThanOrEqual(LIMITS.callTimeoutMs);
    expect(at).toBeLessThan(LIMITS.callTimeoutMs + 5);
    expect(world.store.modRevision('k')).toBe(2);
  });

  it('loses a request: unknown, and never applied', async () => {
    expect((await endOf(world.connect({ loseRequest: 1 }).txn(put('k')))).outcome).toBe('unknown');
    expect(world.store.modRevision('k')).toBe(0);
  });

  it('refuses: at once, and never applied', async () => {
    const { at, outcome } = await endOf(world.connect({ refuse: 1 }).txn(put('k')));
    expect(outcome).toBe('refused');
    expect(at).toBeLessThan(50);
    expect(world.store.modRevision('k')).toBe(0);
  });

  it('applies a late request after its time-out and after a newer one of the same client', async () => {
    const client = world.connect({ late: 1, lateMsMax: 100_000 });
    const late = endOf(client.txn(put('old')), 5_000);
    expect((await late).outcome).toBe('unknown');
    client.faults = CALM;
    expect((await endOf(client.txn(put('new')), 100)).outcome).toBe('done');
    await world.scheduler.run(200_000);
    expect(world.store.modRevision('old')).toBeGreaterThan(world.store.modRevision('new'));
  });

  it('applies a duplicate of a compare-and-swap in vain', async () => {
    await endOf(world.connect({ duplicate: 1, lateMsMax: 5_000 }).txn(put('k')));
    expect(world.store.log).toHaveLength(1);
  });

  it('cuts a client off and lets through later what it sent meanwhile, or not', async () => {
    const client = world.connect();
    client.partitioned = true;
    const calls = Array.from({ length: 20 }, (_, i) => endOf(client.txn(put(`k${i}`)), 4_000));
    for (const call of calls) expect((await call).outcome).toBe('unknown');
    expect(world.store.log).toHaveLength(0);
    client.heal();
    await world.scheduler.run(world.scheduler.now + 1_000);
    expect(world.store.log.length).toBeGreaterThan(3);
    expect(world.store.log.length).toBeLessThan(17);
  });

  it('is down: nothing is applied; leases do not run out', async () => {
    const client = world.connect();
    let lease = '';
    void client.grantLease(2_000).then((id) => (lease = id));
    await world.scheduler.run(100);
    world.store.down = true;
    expect((await endOf(client.get('k'), 30_000)).outcome).not.toBe('done');
    expect(world.store.leases).toEqual([lease]);
    world.store.down = false;
    await world.scheduler.run(world.scheduler.now + 5_000);
    expect(world.store.leases).toEqual([]);
  });

  it('is full: writes and leases are refused as such, deletions and reads are not', async () => {
    const client = world.connect();
    await endOf(client.txn(put('k')));
    world.store.full = true;
    const error = client.txn(put('l')).catch((reason: unknown) => reason);
    await world.scheduler.run(world.scheduler.now + 10);
    expect(await error).toMatchObject({ outcome: 'refused', noSpace: true });
    expect((await endOf(client.grantLease(2_000))).outcome).toBe('refused');
    expect((await endOf(client.txn({ compares: [], changes: [{ delete: 'k' }] }))).outcome).toBe('done');
    expect((await endOf(client.get('k'))).outcome).toBe('done');
  });

  it('does not let a killed client hear anything, but applies what it sent', async () => {
    const domain = new Domain('victim');
    const call = endOf(world.connect({}, domain).txn(put('k')));
    domain.kill();
    expect((await call).outcome).toBe('none');
    expect(world.store.modRevision('k')).toBe(2);
  });

  it('looks for a lease only on the path that is taken, as etcd does', async () => {
    const client = world.connect();
    const change = { put: 'k', value: new Uint8Array([1]), lease: 'gone' };
    const failed = client.txn({
      compares: [{ key: 'k', modRevision: 5 }],
      changes: [change],
      orElseGet: ['k'],
    });
    await world.scheduler.run(10);
    expect(await failed).toMatchObject({ succeeded: false, found: [] });
    expect((await endOf(client.txn({ compares: [], changes: [change] }))).outcome).toBe('refused');
  });

  it('notices when the bytes of a commit change under way', async () => {
    const client = world.connect();
    await endOf(client.txn(put('term')));
    const buffer = new Uint8Array(COMMIT_HEADROOM + 4);
    const commit = client.commit({
      termKey: 'term',
      expectedRevision: 2,
      termValue: new Uint8Array([2]),
      journalKey: 'journal',
      buffer,
      entryAt: COMMIT_HEADROOM,
      entryEnd: buffer.length,
      changes: [],
    });
    buffer[COMMIT_HEADROOM] = 9;
    expect((await endOf(commit)).outcome).toBe('done');
    expect(client.misuses).toHaveLength(1);
    expect(world.store.get('journal')?.value[0]).toBe(0);
  });
});
