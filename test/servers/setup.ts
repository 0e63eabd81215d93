/**
 * Once before the tests with servers: builds dist/, which they start, and makes
 * sure that there are an etcd and an HAProxy. Where there can be none, tests
 * that need it are skipped and counted (etcd-missing.ts, haproxy-missing.ts);
 * in CI that is a failure.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { provideEtcd } from '../../src/cli/etcd-binary.ts';
import { provideHaproxy } from '../../src/cli/haproxy-binary.ts';

export default async function setup(): Promise<void> {
  const build = fileURLToPath(new URL('../../tools/build.js', import.meta.url));
  const run = spawnSync(process.execPath, [build], { stdio: 'inherit' });
  if (run.status !== 0) throw new Error('dist/ could not be built');
  await provide('ETCD', provideEtcd);
  await provide('HAPROXY', provideHaproxy);
}

/** Leaves in the environment where it is, or why there is none. */
async function provide(
  name: 'ETCD' | 'HAPROXY',
  find: () => Promise<{ path: string; version: string }>,
): Promise<void> {
  try {
    const { path, version } = await find();
    process.env[`HOLDFAST_${name}`] = path;
    process.stderr.write(`tests use ${name} ${version} (${path})\n`);
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    const { message } = error as Error;
    process.env[`HOLDFAST_${name}_MISSING`] = message;
    process.stderr.write(`\n!! NO ${name}: every test that needs one is SKIPPED. ${message}\n\n`);
  }
}
