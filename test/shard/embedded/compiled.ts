/**
 * The embedded store as plain JavaScript, for the processes and threads that
 * tests start: Node cannot run TypeScript by itself. Lies under node_modules so
 * that its imports of packages resolve.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface Compiled {
  /** Path of a compiled module, such as `shard/embedded/store`. */
  path(module: string): string;
  remove(): void;
}

export function compileEmbedded(): Compiled {
  const cache = join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'holdfast-test-'));
  const files = ['store', 'folder-lock'].map((name) => join(ROOT, `src/shard/embedded/${name}.ts`));
  const options = { rootDir: join(ROOT, 'src'), outDir: folder, declaration: false, sourceMap: false };
  const project = join(folder, 'tsconfig.json');
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(
    project,
    JSON.stringify({
      extends: join(ROOT, 'tsconfig.build.json'),
      compilerOptions: { ...options, typeRoots: [join(ROOT, 'node_modules/@types')] },
      include: [],
      files,
    }),
  );
  execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', project]);
  return {
    path: (module) => join(folder, `${module}.js`),
    remove: () => rmSync(folder, { recursive: true }),
  };
}

/** One of the scripts beside this file. */
export function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
