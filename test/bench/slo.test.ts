/** The gate itself, against real servers. What it measures here means nothing. */
import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT_CONFIG } from '../../src/config/error.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { PROVISION_MS } from '../servers/etcd.ts';
import { ROOT, temporaryFolder } from '../servers/holdfast.ts';

const GATE = join(ROOT, 'build', 'loadtest', 'slo', 'main.js');
const QUICK = 'quick: { rate: 2000, seconds: 1, warmupSeconds: 0.2, sockets: 4, names: 1024, clients: 64 }';
/** No server answers in a microsecond. */
const IMPOSSIBLE = `
seconds: 1
warmupSeconds: 0
runs: 1
${QUICK}
profiles:
  hopeless:
    about: a target that nobody meets
    workload: waiters
    rate: 1000
    clients: 256
    targets: { p50Ms: 0.001, handOffP50Ms: 1000, errorRate: 0 }
`;

let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  folder = await temporaryFolder();
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, '-p', join(ROOT, 'tsconfig.bench.json')]);
}, PROVISION_MS);
afterAll(() => folder.remove());

function gate(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [GATE, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code as unknown as number), stdout, stderr });
    });
  });
}

function foldersLeft(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('holdfast-slo-'));
}

test.skipIf(etcdMissing)(
  'a quick run works, and its report is complete',
  async () => {
    const before = foldersLeft();
    const { code, stdout, stderr } = await gate(
      '--quick',
      '--only',
      'steady,contended',
      '--out',
      folder.path,
    );
    expect(code, stderr + stdout).toBe(0);
    expect(stdout).toMatch(/^steady .* works$/m);
    expect(stdout).toMatch(/^ {2}its ceiling /m);
    expect(stdout).toContain('nothing was judged on time');

    const found = JSON.parse(await readFile(join(folder.path, 'slo.json'), 'utf8'));
    expect(found).toMatchObject({
      format: 'holdfast-slo-1',
      passed: true,
      isQuick: true,
      isInterrupted: false,
    });
    expect(found.versions).toMatchObject({ node: process.version, etcd: expect.stringMatching(/^\d/) });
    const [steady] = found.profiles;
    expect(steady.runs[0].result).toMatchObject({ safety: { twoHolders: 0, fallingFences: 0 }, errors: {} });
    expect(steady.runs[0].result.latency.count).toBeGreaterThan(1_000);
    expect(steady.runs[0].cpu.holdfast.total).toBeGreaterThan(0);
    expect(steady.runs[0].counters.commitsPerSecond).toBeGreaterThan(10);
    expect(steady.runs[0].footprint.logBytes).toBeGreaterThan(1e6);
    expect(steady.ceilings[0].result.latency.count).toBeGreaterThan(1_000);

    const html = await readFile(join(folder.path, 'slo.html'), 'utf8');
    for (const text of [
      'smoke test',
      'steady: works',
      'contended: works',
      'Latency by percentile',
      '4,000 ops/s',
    ]) {
      expect(html).toContain(text);
    }
    const figures = readdirSync(join(folder.path, 'figures'));
    for (const name of [
      'percentiles',
      'p95',
      'cpu',
      'footprint',
      'steady-histogram',
      'contended-throughput',
    ]) {
      expect(figures).toContain(`${name}.svg`);
    }
    expect(foldersLeft()).toEqual(before);

    // The same figures give the same report.
    const again = join(folder.path, 'again');
    expect(await gate('--redraw', join(folder.path, 'slo.json'), '--out', again)).toMatchObject({ code: 0 });
    expect(await readFile(join(again, 'slo.html'), 'utf8')).toBe(html);
  },
  60_000,
);

test.skipIf(etcdMissing)(
  'a missed target is named, and the gate fails',
  async () => {
    const config = join(folder.path, 'slo.yaml');
    await writeFile(config, IMPOSSIBLE);
    const out = join(folder.path, 'missed');
    const { code, stdout } = await gate('--config', config, '--out', out);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^hopeless .* MISSED$/m);
    expect(stdout).toMatch(/hopeless: P50 ≤ 0\.001 ms \(\d+\.\d\d ms\)/);
    // What it met is not named.
    expect(stdout).not.toContain('hand-off');
    expect(stdout).toContain('0 of 1 profiles met their targets: FAILED');
    expect(await readFile(join(out, 'slo.html'), 'utf8')).toContain('hopeless: MISSED');
  },
  60_000,
);

test.skipIf(etcdMissing)(
  'an interrupted run ends soon, leaves nothing behind and counts as failed',
  async () => {
    const before = foldersLeft();
    const out = join(folder.path, 'interrupted');
    const child = spawn(process.execPath, [GATE, '--only', 'steady', '--out', out], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (!said.includes('the ceiling') && (said + text).includes('the ceiling')) child.kill('SIGINT');
      said += text;
    });
    const code = await new Promise((resolve) => child.once('exit', resolve));
    expect(code, said).toBe(130);
    expect(foldersLeft()).toEqual(before);
    expect(JSON.parse(await readFile(join(out, 'slo.json'), 'utf8'))).toMatchObject({
      isInterrupted: true,
      passed: false,
    });
  },
  60_000,
);

test('wrong settings have an exit code of their own', async () => {
  const { code, stderr } = await gate('--only', 'nothing');
  expect(code).toBe(EXIT_CONFIG);
  expect(stderr).toContain('has no profile nothing; allowed: steady, peak');
  expect(existsSync(join(folder.path, 'nothing'))).toBe(false);
});
