/** A test of the tree itself: layout/rules.ts says what must hold, and where to change it. */
import { basename, dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  ENTRIES,
  FILE_LINES_MAX,
  FORBIDDEN_FOLDERS,
  FORBIDDEN_TEXT,
  FUNCTION_LINES_MAX,
  MAY_IMPORT,
  PURE_MODULES,
} from './layout/rules.ts';
import { filesOf, parseSource, textOf, type Source } from './layout/tree.ts';

const FILES = filesOf();
const SOURCES = new Map(
  FILES.filter((path) => /\.(ts|js|mjs)$/.test(path)).map((path) => [path, parseSource(path, textOf(path))]),
);
const OURS = [...SOURCES.values()].filter((source) => source.path.startsWith('src/'));

/** `src/lane/a/b.ts` → the rows that could name it: `lane/a/b`, `lane/a`, `lane`. */
function rowsOf(path: string): string[] {
  const parts = path
    .replace(/^src\//, '')
    .replace(/\.ts$/, '')
    .split('/');
  return parts.map((_, i) => parts.slice(0, parts.length - i).join('/'));
}

function roomOf(path: string): string {
  return rowsOf(path).at(-1)!;
}

/** Imports that the table does not allow, as «file → file». */
function wrongImports(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, imports }) => {
    const row = rowsOf(path).find((name) => name in MAY_IMPORT);
    const allowed = row === undefined ? [] : MAY_IMPORT[row];
    return imports
      .filter((to) => roomOf(to) !== roomOf(path) && !rowsOf(to).some((name) => allowed.includes(name)))
      .map((to) => `${path} → ${to}`);
  });
}

/** One round trip along imports, or undefined. */
function findCycle(sources: ReadonlyMap<string, Source>): string[] | undefined {
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const to of sources.get(path)?.imports ?? []) {
      const cycle = visit(to, [...trail, path]);
      if (cycle !== undefined) return cycle;
    }
    done.add(path);
    return undefined;
  };
  for (const path of sources.keys()) {
    const cycle = visit(path, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

function reachable(sources: ReadonlyMap<string, Source>, entries: readonly string[]): Set<string> {
  const seen = new Set(entries);
  for (const path of seen) {
    const source = sources.get(path);
    for (const to of [...(source?.imports ?? []), ...(source?.starts ?? [])]) seen.add(to);
  }
  return seen;
}

function tooLong(source: Source): string[] {
  const long = source.functions.filter((one) => one.lines > FUNCTION_LINES_MAX);
  const found = long.map((one) => `${source.path}:${one.line} a function of ${one.lines} lines`);
  if (source.lines > FILE_LINES_MAX) found.push(`${source.path} ${source.lines} lines`);
  return found;
}

function forbiddenText(path: string, text: string): string[] {
  return FORBIDDEN_TEXT.flatMap(([pattern, why]) => {
    const match = pattern.exec(text);
    if (match === null) return [];
    const line = text.slice(0, match.index).split('\n').length;
    return [`${path}:${line} «${match[0]}»: ${why}`];
  });
}

describe('the tree', () => {
  it('has a row for every room of src/', () => {
    const rooms = new Set(OURS.map((source) => roomOf(source.path)));
    expect([...rooms].filter((room) => !(room in MAY_IMPORT))).toEqual([]);
  });

  it('imports in one direction', () => {
    expect(wrongImports(OURS)).toEqual([]);
  });

  it('imports only files that exist', () => {
    const wanted = [...SOURCES.values()].flatMap((source) =>
      [...source.imports, ...source.starts].map((to) => [source.path, to] as const),
    );
    const missing = wanted.filter(
      ([, to]) =>
        !FILES.includes(to.replace(/\.js$/, '.ts')) && !FILES.includes(to) && !/^(dist|build)\//.test(to),
    );
    expect(missing.map(([from, to]) => `${from} → ${to}`)).toEqual([]);
  });

  it('has no cycle of imports', () => {
    expect(findCycle(SOURCES)).toBeUndefined();
  });

  it('keeps lock/ pure: no package, no I/O of Node', () => {
    const pure = OURS.filter((source) => /^src\/(lock|op|errors|limits)\b/.test(source.path));
    const taken = pure.flatMap((source) => source.packages.map((name) => [source.path, name] as const));
    expect(taken.filter(([, name]) => !PURE_MODULES.includes(name))).toEqual([]);
  });

  it('has no file that nothing leads to', () => {
    const reached = reachable(SOURCES, ENTRIES);
    expect(OURS.map((source) => source.path).filter((path) => !reached.has(path))).toEqual([]);
  });

  it(`has no function over ${FUNCTION_LINES_MAX} lines and no file over ${FILE_LINES_MAX}`, () => {
    expect([...SOURCES.values()].flatMap(tooLong)).toEqual([]);
  });

  it('has no text that does not belong into it', () => {
    expect(FILES.flatMap((path) => forbiddenText(path, textOf(path)))).toEqual([]);
  });

  it('has no folder whose name says nothing, and no barrel', () => {
    const folders = new Set(FILES.flatMap((path) => dirname(path).split('/')));
    expect(FORBIDDEN_FOLDERS.filter((name) => folders.has(name))).toEqual([]);
    expect([...SOURCES.keys()].filter((path) => basename(path, '.ts') === 'index')).toEqual([]);
  });
});

describe('its rules can fail', () => {
  const source = (path: string, text: string): Source => parseSource(path, text);

  it.each([
    [
      'src/lock/slot.ts',
      "import { readFileSync } from 'node:fs'; import { Lane } from '../lane/lane.ts';",
      1,
    ],
    ['src/lane/lane.ts', "import type { Front } from '../front/front.ts';", 1],
    ['src/lane/lane.ts', "import { openStore } from '../shard/open.ts';", 1],
    ['src/lane/worker.ts', "import { openStore } from '../shard/open.ts';", 0],
    ['src/front/http.ts', "export { Lane } from '../lane/lane.ts';", 1],
    ['src/front/http.ts', "import { Op } from '../op.ts'; import { x } from './x.ts';", 0],
    ['src/front/http.ts', "const lane = await import('../lane/lane.ts');", 1],
    ['src/op.ts', "import { LIMITS } from './limits.ts';", 1],
    ['src/newroom/file.ts', "import { LIMITS } from '../limits.ts';", 1],
  ])('direction: %s %s', (path, text, wrong) => {
    expect(wrongImports([source(path, text)])).toHaveLength(wrong);
  });

  it('cycles', () => {
    const sources = [
      source('src/lane/a.ts', "import { b } from './b.ts';"),
      source('src/lane/b.ts', "import type { C } from './c.ts';"),
      source('src/lane/c.ts', "export * from './a.ts';"),
    ];
    const cycle = findCycle(new Map(sources.map((one) => [one.path, one])));
    expect(cycle).toEqual(['src/lane/a.ts', 'src/lane/b.ts', 'src/lane/c.ts', 'src/lane/a.ts']);
  });

  it('dead files, with threads alive', () => {
    const sources = [
      source('src/main.ts', "const worker = new URL('./lane/worker.ts', import.meta.url); import './x.ts';"),
      source('src/x.ts', 'new Worker(new URL(`./keeper${extname(import.meta.url)}`, import.meta.url));'),
      source('src/lane/worker.ts', "import { a } from './a.ts';"),
      source('src/lane/a.ts', ''),
      source('src/lane/dead.ts', "import { a } from './a.ts';"),
    ];
    const reached = reachable(new Map(sources.map((one) => [one.path, one])), ['src/main.ts']);
    expect(reached.has('src/keeper.ts')).toBe(true);
    expect(sources.map((one) => one.path).filter((path) => !reached.has(path))).toEqual(['src/lane/dead.ts']);
  });

  it('lengths, with suites of tests left out', () => {
    const body = '\n'.repeat(FUNCTION_LINES_MAX);
    expect(tooLong(source('a.ts', `export function long() {${body}}\n`))).toHaveLength(1);
    expect(tooLong(source('a.ts', `class A { long() {${body}} }\n`))).toHaveLength(1);
    expect(tooLong(source('a.ts', `const long = () => {${body.slice(1)}};\n`))).toHaveLength(0);
    expect(tooLong(source('a.ts', `describe('a', () => {it('b');${body}});\n`))).toHaveLength(0);
    expect(tooLong(source('a.ts', `onEachStore(() => {test.each([1])('b');${body}});\n`))).toHaveLength(0);
    expect(tooLong(source('a.ts', `it('a', () => {${body}});\n`))).toHaveLength(1);
    expect(tooLong(source('a.ts', '\n'.repeat(FILE_LINES_MAX + 1)))).toHaveLength(1);
  });

  it.each([
    `// ${'TO'}DO later`,
    `const folder = '${'/tm'}p/holdfast';`,
    `"resol${'ved'}": "https://example.org/a.tgz"`,
    `it.${'on'}ly('a', () => {});`,
    `describe.${'sk'}ip('a', () => {});`,
  ])('text: %s', (text) => {
    expect(forbiddenText('a.ts', `\n${text}\n`)).toHaveLength(1);
  });
});
