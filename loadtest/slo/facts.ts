/** Which Holdfast was measured, and with what. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Versions {
  readonly holdfast: string;
  /** Of git, with «+ changes» where files differ from it; «unknown» outside of a repository. */
  readonly commit: string;
  readonly node: string;
  readonly etcd: string;
}

/** @param root the folder that package.json is in */
export async function versionsOf(root: string, etcd: string): Promise<Versions> {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  return { holdfast: version, commit: await commitOf(root), node: process.version, etcd };
}

async function commitOf(root: string): Promise<string> {
  const git = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)('git', args, { cwd: root })).stdout.trim();
  try {
    const commit = await git('rev-parse', 'HEAD');
    const changes = await git('status', '--porcelain', '--untracked-files=no');
    return changes === '' ? commit : `${commit} + changes`;
  } catch {
    return 'unknown';
  }
}
