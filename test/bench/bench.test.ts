/** The benchmarks, tiny, so that they can't rot. What they measure here means nothing. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PROVISION_MS } from '../servers/etcd.ts';
import { ROOT, temporaryFolder } from '../servers/holdfast.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';

const run = promisify(execFile);
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  folder = await temporaryFolder();
  await run(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'),
    '-p',
    join(ROOT, 'tsconfig.bench.json'),
  ]);
}, PROVISION_MS);
afterAll(() => folder.remove());

function program(name: string, args: readonly string[]) {
  return run(process.execPath, [join(ROOT, 'build', name), ...args], { cwd: folder.path });
}

test.skipIf(etcdMissing)(
  'ceiling, Holdfast on etcd and on the embedded store, in one table',
  async () => {
    const json = join(folder.path, 'bench.json');
    const rates = ['--rates', '4000,20000', '--seconds', '1', '--warmup', '0.5', '--names', '4096'];
    const { stdout } = await program('bench/run.js', [...rates, '--json', json]);
    const { rows } = JSON.parse(await readFile(json, 'utf8'));
    expect(rows.map(({ what }: { what: string }) => what)).toEqual([
      ...['ceiling', 'Holdfast, etcd', 'ceiling', 'Holdfast, etcd'],
      ...['Holdfast, embedded', 'Holdfast, embedded'],
    ]);
    for (const row of rows) {
      expect(row.bad).toBe(0);
      expect(row.achieved).toBeGreaterThan(row.offered / 2);
      expect(row.latency.count).toBeGreaterThan(0);
      expect(row.cpu.load.total).toBeGreaterThan(0);
    }
    expect(stdout).toContain('× ceiling');
    expect(stdout).toMatch(/etcd s0: database and snapshots \d+ MiB/);
  },
  180_000,
);

test.skipIf(etcdMissing)(
  'held locks and their take-over',
  async () => {
    const { stdout } = await program('bench/held.js', [
      '--locks',
      '5000',
      '--shards',
      '1',
      '--read-seconds',
      '0.5',
    ]);
    expect(stdout).toMatch(/the standby served after \d+ ms, 5056 locks held/);
  },
  180_000,
);

test.skipIf(etcdMissing)(
  '100,000 locks over two shards',
  async () => {
    const { stdout } = await program('bench/hundred-thousand.js', []);
    expect(stdout).toContain('100000 different locks taken, all released, 0 failures');
  },
  180_000,
);

test.skipIf(etcdMissing)(
  'one and two processes, local and forwarded',
  async () => {
    const json = join(folder.path, 'processes.json');
    const args = ['--processes', '1,2', '--rate', '4000', '--ladder', '', '--names', '2048', '--json', json];
    const { stdout } = await program('bench/processes.js', [...args, '--seconds', '1', '--warmup', '0.5']);
    const { rows } = JSON.parse(await readFile(json, 'utf8'));
    expect(rows.map((row: { processes: number; kind: string }) => [row.processes, row.kind])).toEqual([
      [1, 'local'],
      [2, 'local'],
      [2, 'forwarded'],
    ]);
    for (const row of rows) {
      expect(row.bad).toBe(0);
      expect(row.achieved).toBeGreaterThan(row.offered / 2);
    }
    expect(stdout).toMatch(/the hop at \d+ ops\/s over 2 processes: P50 [+-]/);
  },
  180_000,
);

test.skipIf(etcdMissing)(
  'Holdfast beside a nested Txn per batch',
  async () => {
    const out = join(folder.path, 'peers');
    const times = [
      '--seconds',
      '0.5',
      '--sweep-seconds',
      '0',
      '--rate-seconds',
      '0.5',
      '--warmup-seconds',
      '0.1',
    ];
    const args = ['--runs', '1', '--only', 'holdfast,nested-txn', '--out', out, '--markdown', ...times];
    const { stdout } = await program('bench/peers/main.js', args);
    const { rows } = JSON.parse(await readFile(join(out, 'peers.json'), 'utf8'));
    expect(rows.map((row: { key: string }) => row.key)).toEqual(['holdfast', 'nested-txn']);
    for (const row of rows) {
      expect(row.failed).toBe(0);
      expect(row.opsPerSecond).toBeGreaterThan(0);
      expect(row.pacedP50Ms).toBeGreaterThan(0);
    }
    expect(stdout).toMatch(/(met {3}|MISSED) {2}≥ 5 × nested Txn per batch/);
    expect(stdout).toContain('| Holdfast, frames of 64 |');
    expect(await readFile(join(out, 'peers.html'), 'utf8')).toContain('<svg');
  },
  180_000,
);

test.skipIf(etcdMissing)(
  'what grows how: points, a page and a plan',
  async () => {
    const out = join(folder.path, 'scale');
    const only = ['--only', 'rate', '--seconds', '0.5', '--warmup', '0.2', '--quick'];
    const { stdout } = await program('bench/scale/main.js', [...only, '--out', out]);
    const { samples, failures } = JSON.parse(await readFile(join(out, 'scale.json'), 'utf8'));
    expect(failures).toEqual([]);
    expect(samples).toHaveLength(2);
    for (const sample of samples) {
      expect(sample.achieved).toBeGreaterThan(sample.offered / 2);
      expect(sample.commitsPerSecond).toBeGreaterThan(0);
      expect(sample.cores.front).toBeGreaterThan(0);
      expect(sample.memory.etcd).toBeGreaterThan(0);
    }
    expect(stdout).toContain('Offered rate');
    expect(await readFile(join(out, 'scale.html'), 'utf8')).toContain('<svg');
    // From the points that are kept with the source.
    const plan = await program('bench/scale/main.js', ['--plan', '66667,10000000']);
    expect(plan.stdout).toMatch(/^10,000,000 +\d+ /m);
  },
  180_000,
);
