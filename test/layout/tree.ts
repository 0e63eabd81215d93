/** The tree as its own test sees it: files, what they import, how long their functions are. */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'oxc-parser';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Not part of the tree (.gitignore), or not ours to write (LICENSE). */
const LEFT_OUT =
  /^(\.git|node_modules|dist|dist\..*|build|data|coverage|reports|LICENSE|.*\.(log|tsbuildinfo|cpuprofile))$/;
const BINARY = /\.(png|ico|gz|bin)$/;

/** Paths of all files of the tree, from its root, with `/`. */
export function filesOf(folder = ''): string[] {
  return readdirSync(join(ROOT, folder))
    .filter((name) => !LEFT_OUT.test(name) && !BINARY.test(name))
    .flatMap((name) => {
      const path = posix.join(folder, name);
      return statSync(join(ROOT, path)).isDirectory() ? filesOf(path) : [path];
    });
}

export function textOf(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

export interface Source {
  readonly path: string;
  readonly lines: number;
  /** Files of the tree that it imports, type imports included. */
  readonly imports: readonly string[];
  /** Packages and Node modules that it imports. */
  readonly packages: readonly string[];
  /** Files that it starts as threads. */
  readonly starts: readonly string[];
  readonly functions: readonly { readonly line: number; readonly lines: number }[];
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [property: string]: unknown;
}

export function parseSource(path: string, text: string): Source {
  const { program, module, errors } = parseSync(path, text);
  if (errors.length > 0) throw new SyntaxError(`${path}: ${errors[0].message}`);
  const found: string[] = module.staticImports.map((one) => one.moduleRequest.value);
  for (const one of module.staticExports) {
    for (const entry of one.entries) if (entry.moduleRequest) found.push(entry.moduleRequest.value);
  }
  const starts: string[] = [];
  const functions: { line: number; lines: number }[] = [];
  const lineAt = lineFinder(text);
  walk(program as unknown as Node, (node) => {
    if (node.type === 'ImportExpression') {
      const value = literal(node['source']);
      if (value !== undefined) found.push(value);
    } else if (node.type === 'TSImportType') {
      const value = literal(node['source'] ?? node['argument']);
      if (value !== undefined) found.push(value);
    } else if (node.type === 'NewExpression') {
      const value = urlOfModule(node);
      if (value !== undefined) starts.push(inTree(path, value));
    } else if (isFunction(node) && !isSuite(node)) {
      const line = lineAt(node.start);
      functions.push({ line, lines: lineAt(node.end) - line + 1 });
    }
  });
  const own = found.filter((one) => one.startsWith('.'));
  return {
    path,
    lines: text.split('\n').length - 1,
    imports: [...new Set(own.map((one) => inTree(path, one)))],
    packages: [...new Set(found.filter((one) => !one.startsWith('.')))],
    starts,
    functions,
  };
}

function inTree(from: string, request: string): string {
  return posix.join(dirname(from), request);
}

function walk(node: Node, visit: (node: Node) => void): void {
  visit(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child === 'object' && child !== null && typeof child.type === 'string') walk(child, visit);
    }
  }
}

function isFunction(node: Node): boolean {
  const { type } = node;
  return (
    type === 'FunctionDeclaration' || type === 'FunctionExpression' || type === 'ArrowFunctionExpression'
  );
}

/** A function that is a list of tests is a chapter, not something to be read at once. */
function isSuite(node: Node): boolean {
  const statements = (node['body'] as Node | null)?.['body'];
  return Array.isArray(statements) && (statements as Node[]).some(isTest);
}

/** `it('…', …);` and its forms: `describe.each([…])('…', …);` */
function isTest(statement: Node): boolean {
  let callee = statement.type === 'ExpressionStatement' ? (statement['expression'] as Node) : undefined;
  if (callee?.type !== 'CallExpression') return false;
  while (callee?.type === 'CallExpression' || callee?.type === 'MemberExpression') {
    callee = (callee['callee'] ?? callee['object']) as Node;
  }
  return callee?.type === 'Identifier' && ['describe', 'it', 'test'].includes(callee['name'] as string);
}

/** The file of `new URL('./file.ts', import.meta.url)` or of «`./file${extname(import.meta.url)}`». */
function urlOfModule(node: Node): string | undefined {
  const callee = node['callee'] as Node;
  const [first, second] = node['arguments'] as Node[];
  if (callee['name'] !== 'URL' || second?.type !== 'MemberExpression') return undefined;
  if (first.type === 'TemplateLiteral') {
    const [begin] = first['quasis'] as { value: { cooked: string } }[];
    return /^\.\.?\//.test(begin.value.cooked) ? `${begin.value.cooked}.ts` : undefined;
  }
  const value = literal(first);
  return value !== undefined && /\.[jt]s$/.test(value) ? value : undefined;
}

function literal(node: unknown): string | undefined {
  const value = (node as { value?: unknown } | undefined)?.value;
  return typeof value === 'string' ? value : undefined;
}

function lineFinder(text: string): (offset: number) => number {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (offset) => {
    let low = 0;
    for (let high = starts.length; high - low > 1;) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
}
