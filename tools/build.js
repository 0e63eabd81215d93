/**
 * Compiles src/ to dist/. The result replaces dist/ only once it is complete,
 * so that a file that no longer has a source does not live on in it and a
 * failed build leaves the last good one in place.
 *
 *   node tools/build.js [--if-possible]     without a compiler: does nothing
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');

if (!existsSync(compiler)) {
  const optional = process.argv.includes('--if-possible');
  console.error('holdfast: not built: TypeScript is not installed (npm ci without --omit=dev installs it)');
  process.exit(optional ? 0 : 1);
}

const fresh = join(root, `dist.${process.pid}`);
const dist = join(root, 'dist');
try {
  const args = [compiler, '-p', join(root, 'tsconfig.build.json'), '--outDir', fresh];
  const run = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (run.status !== 0) {
    process.exitCode = run.status ?? 1;
  } else {
    chmodSync(join(fresh, 'cli', 'main.js'), 0o755);
    rmSync(dist, { recursive: true, force: true });
    renameSync(fresh, dist);
  }
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
