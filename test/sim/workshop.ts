/** Tries mutations out: a copy of the tree in a temporary folder, in which seeds or tests are run. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Mutation } from './mutations.ts';
import type { ProfileName } from './profiles.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const execute = promisify(execFile);
/** As the tree is compiled for use, but without checking: a mutation need not be beautiful. */
const COMPILER_FLAGS = [
  [
    '--ignoreConfig',
    '--noCheck',
    '--skipLibCheck',
    '--rewriteRelativeImportExtensions',
    '--verbatimModuleSyntax',
  ],
  ['--target', 'ES2023', '--lib', 'ES2023,ESNext.Disposable', '--module', 'nodenext', '--types', 'node'],
].flat();

export interface Finding {
  /** Rules that were seen broken, none: the mutation went unnoticed. */
  readonly rules: readonly string[];
  /** What was run until then. */
  readonly after: string;
}

/** What is read of vitest's JSON report. */
interface TestReport {
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly status: string; readonly title: string }[];
  }[];
}

/** What a seed takes, at most. */
export const SEED_MS = 5_000;

const PARTS = ['src', 'test', 'package.json', 'vitest.config.ts'];

export class Workshop {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(): Promise<Workshop> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-mutations-'));
    for (const part of PARTS) {
      await cp(join(ROOT, part), join(folder, 'tree', part), { recursive: true });
    }
    await mkdir(join(folder, 'built'), { recursive: true });
    await cp(join(ROOT, 'package.json'), join(folder, 'built', 'package.json'));
    for (const place of ['tree', 'built']) {
      await symlink(join(ROOT, 'node_modules'), join(folder, place, 'node_modules'));
    }
    return new Workshop(folder);
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** @throws Error when the mutation's text is not in its file exactly once */
  async try(mutation: Mutation): Promise<Finding> {
    const path = join(this.#folder, 'tree', mutation.file);
    const original = await readFile(path, 'utf8');
    await writeFile(path, mutated(original, mutation));
    try {
      if ('tests' in mutation) return await this.#runTests(mutation.tests);
      return await this.run(mutation.profile, mutation.seeds);
    } finally {
      await writeFile(path, original);
    }
  }

  /** Compiles what is there now and runs seeds until one fails. */
  async run(profile: ProfileName, seeds: number): Promise<Finding> {
    const tree = join(this.#folder, 'tree');
    const built = join(this.#folder, 'built');
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
    const compile = [
      compiler,
      ...COMPILER_FLAGS,
      '--rootDir',
      tree,
      '--outDir',
      built,
      join(tree, 'test/sim/command.ts'),
    ];
    await execute(execPath, compile, { cwd: tree });
    const command = join(built, 'test/sim/command.js');
    // What a mutation makes spin must not spin for ever.
    const options = { timeout: seeds * SEED_MS };
    const { stdout } = await execute(execPath, [command, '0', String(seeds), profile], options);
    const lines = stdout.trim().split('\n');
    const failure = JSON.parse(lines[0]) as { rules?: string[] };
    const total = JSON.parse(lines[lines.length - 1]) as { seeds: number };
    return { rules: failure.rules ?? [], after: `${total.seeds} seeds` };
  }

  /** The titles of tests that fail stand for the rules. */
  async #runTests(file: string): Promise<Finding> {
    const command = [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter', 'json', file];
    const { stdout } = await execute(execPath, command, { cwd: join(this.#folder, 'tree') }).catch(
      (error: { stdout?: string }) => ({ stdout: error.stdout ?? '' }),
    );
    const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as TestReport;
    const tests = report.testResults.flatMap(({ assertionResults }) => assertionResults);
    const failed = tests.filter(({ status }) => status === 'failed').map(({ title }) => `«${title}»`);
    return { rules: failed, after: `${tests.length} tests of ${file}` };
  }
}

/** @throws Error when a text to be replaced is not there exactly once */
function mutated(original: string, mutation: Mutation): string {
  let text = original;
  for (const { find, replace } of [mutation, ...(mutation.also === undefined ? [] : [mutation.also])]) {
    const places = text.split(find).length - 1;
    if (places !== 1)
      throw new Error(`«${mutation.name}»: its text stands ${places} times in ${mutation.file}`);
    // A function: in a text `$&` and the like would mean something.
    text = text.replace(find, () => replace);
  }
  return text;
}
