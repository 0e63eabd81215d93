/**
 * Once before the tests with servers: builds dist/, which they start, and makes
 * sure that there is an etcd. Where there can be none, tests that need it are
 * skipped and counted (etcd-missing.ts); in CI that is a failure.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { provideEtcd } from '../../src/cli/etcd-binary.ts';

export default async function setup(): Promise<void> {
  const build = fileURLToPath(new URL('../../tools/build.js', import.meta.url));
  const run = spawnSync(process.execPath, [build], { stdio: 'inherit' });
  if (run.status !== 0) throw new Error('dist/ could not be built');
  try {
    const etcd = await provideEtcd();
    process.env['HOLDFAST_ETCD'] = etcd.path;
    process.stderr.write(`tests use etcd ${etcd.version} (${etcd.path})\n`);
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    const { message } = error as Error;
    process.env['HOLDFAST_ETCD_MISSING'] = message;
    process.stderr.write(`\n!! NO ETCD: every test that needs one is SKIPPED. ${message}\n\n`);
  }
}
