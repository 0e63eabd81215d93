/**
 * Scripts beside this file as plain JavaScript, for the processes and threads
 * that tests start: Node cannot run TypeScript by itself. The result lies under
 * node_modules so that its imports of packages resolve.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const HERE = 'test/shard/embedded';

export interface Script {
  /** Of the JavaScript file. */
  readonly path: string;
  remove(): void;
}

/** @param name of a file in this folder, without `.ts` */
export function compileScript(name: string): Script {
  const cache = join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'holdfast-test-'));
  const project = join(folder, 'tsconfig.json');
  const compilerOptions = {
    rootDir: ROOT,
    outDir: folder,
    declaration: false,
    sourceMap: false,
    typeRoots: [join(ROOT, 'node_modules/@types')],
  };
  const files = [join(ROOT, HERE, `${name}.ts`)];
  const extended = join(ROOT, 'tsconfig.build.json');
  writeFileSync(project, JSON.stringify({ extends: extended, compilerOptions, include: [], files }));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', project]);
  return {
    path: join(folder, HERE, `${name}.js`),
    remove: () => rmSync(folder, { recursive: true }),
  };
}
