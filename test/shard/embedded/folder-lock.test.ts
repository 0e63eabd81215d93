import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FolderLockError, lockFolder } from '../../../src/shard/embedded/folder-lock.ts';
import { compileScript, type Script } from './compile.ts';

let holder: Script;
let folder: string;
const started: ChildProcessWithoutNullStreams[] = [];

beforeAll(() => {
  holder = compileScript('holder');
});
afterAll(() => holder.remove());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-lock-'));
});
afterEach(async () => {
  await Promise.all(started.splice(0).map(kill));
  rmSync(folder, { recursive: true });
});

async function kill(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

interface Holder {
  readonly child: ChildProcessWithoutNullStreams;
  readonly pid: number;
  readonly said: string;
  next(): Promise<string>;
}

async function start(mode = ''): Promise<Holder> {
  const child = spawn(process.execPath, [holder.path, folder, mode]);
  started.push(child);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async (): Promise<string> => String((await lines.next()).value);
  return { child, pid: child.pid!, said: await next(), next };
}

describe('the lock of a data folder', () => {
  it('lets one process in and tells the second who it is', async () => {
    const first = await start();
    expect(first.said).toContain('locked');
    const second = await start();
    expect(second.said).toBe(
      `FolderLockError: ${folder}: the data folder is in use by process ${first.pid} on ${hostname()}; allowed: one process for a folder`,
    );
    expect(() => lockFolder(folder)).toThrow(FolderLockError);
  });

  it('is free at once after kill -9, again and again', async () => {
    for (let i = 0; i < 5; i++) {
      const held = await start();
      expect(held.said).toContain('locked');
      await kill(held.child);
      // Not even the moment that a next process takes to start.
      const lock = lockFolder(folder);
      expect(JSON.parse(readFileSync(join(folder, 'holdfast.lock'), 'utf8'))).toMatchObject({
        pid: process.pid,
      });
      lock.release();
    }
  });

  it('does not outlive its process in a child of it', async () => {
    const held = await start('child');
    const child = Number(held.said.split(' ')[1]);
    try {
      await kill(held.child);
      process.kill(child, 0);
      lockFolder(folder).release();
    } finally {
      process.kill(child, 'SIGKILL');
    }
  });

  it('is kept by a process that stands still', async () => {
    const held = await start();
    held.child.kill('SIGSTOP');
    expect(() => lockFolder(folder)).toThrow(`process ${held.pid} `);
    held.child.kill('SIGCONT');
  });

  it('can be given back', async () => {
    const held = await start();
    held.child.stdin.write('\n');
    expect(await held.next()).toBe('released');
    const lock = lockFolder(folder);
    expect((await start()).said).toContain(`in use by process ${process.pid} `);
    lock.release();
    expect((await start()).said).toContain('locked');
  });

  it('goes to one of many that start at once', async () => {
    const holders = await Promise.all(Array.from({ length: 6 }, () => start()));
    const winners = holders.filter(({ said }) => said.startsWith('locked'));
    expect(winners).toHaveLength(1);
    for (const { said } of holders) expect(said).toMatch(/^locked|^FolderLockError: .* in use by /);
  });

  it('ignores what a file of an earlier process says', () => {
    writeFileSync(join(folder, 'holdfast.lock'), `{"pid":${process.pid},"host":"elsewhere"}`);
    lockFolder(folder).release();
    writeFileSync(join(folder, 'holdfast.lock'), 'not JSON');
    const lock = lockFolder(folder);
    writeFileSync(join(folder, 'holdfast.lock'), 'not JSON');
    expect(() => lockFolder(folder)).toThrow('in use by another process;');
    lock.release();
  });

  it('makes the folder, and says when it cannot', () => {
    lockFolder(join(folder, 'a', 'b')).release();
    writeFileSync(join(folder, 'file'), '');
    const inFile = (): unknown => lockFolder(join(folder, 'file', 'data'));
    expect(inFile).toThrow(FolderLockError);
    expect(inFile).toThrow(/the data folder cannot be used: ENOTDIR/);
  });

  it('says which program it lacks', () => {
    const { PATH } = process.env;
    process.env['PATH'] = folder;
    try {
      expect(() => lockFolder(folder)).toThrow('the program flock is not installed (package util-linux)');
    } finally {
      process.env['PATH'] = PATH;
    }
  });
});
