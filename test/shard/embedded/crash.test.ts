/** kill -9 in the middle of commits: what was acknowledged is there, and the chain has no hole. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEmbeddedStore } from '../../../src/shard/embedded/store.ts';
import { chainEntry, JOURNAL, TERM } from './chain.ts';
import { compileScript, type Script } from './compile.ts';

const KILLS = 20;

let committer: Script;
let folder: string;

beforeAll(() => {
  committer = compileScript('committer');
  folder = mkdtempSync(join(tmpdir(), 'holdfast-crash-'));
});
afterAll(() => {
  committer.remove();
  rmSync(folder, { recursive: true });
});

/** Lets a process commit for `ms` after its first commit, then kills it. Resolves with the last seq it acknowledged. */
async function commitUntilKilled(ms: number): Promise<number> {
  const child = spawn(process.execPath, [committer.path, folder], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (text) => (stderr += text));
  let acknowledged = 0;
  let timer: NodeJS.Timeout | undefined;
  const lines = createInterface(child.stdout);
  lines.on('line', (line) => {
    acknowledged = Number(line);
    timer ??= setTimeout(() => child.kill('SIGKILL'), ms);
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearTimeout(timer);
  expect(signal, stderr).toBe('SIGKILL');
  return acknowledged;
}

/** Reads the whole chain back; resolves with the seq of its last commit. */
async function checkChain(): Promise<number> {
  const store = openEmbeddedStore({ name: 's0', folder });
  try {
    const last = Number(Buffer.from((await store.get(TERM))!.value).toString());
    let seq = 0;
    let from = JOURNAL;
    for (let more = true; more;) {
      const page = await store.range(from, 'journal/u', { limit: 500 });
      for (const { key, value, modRevision } of page.entries) {
        seq++;
        expect(key).toBe(JOURNAL + String(seq).padStart(12, '0'));
        expect(Buffer.compare(value, chainEntry(seq)), `entry ${seq}`).toBe(0);
        expect(modRevision).toBe(seq + 1);
        from = `${key}\0`;
      }
      more = page.more;
    }
    expect(seq).toBe(last);
    expect((await store.status()).revision).toBe(last + 1);
    return last;
  } finally {
    await store.close();
  }
}

describe('an embedded shard whose process is killed', () => {
  it(`keeps every acknowledged commit, ${KILLS} times`, async () => {
    let before = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const acknowledged = await commitUntilKilled(5 + ((kill * 37) % 120));
      expect(acknowledged).toBeGreaterThan(before);
      const committed = await checkChain();
      // One commit more may have been under way.
      expect([acknowledged, acknowledged + 1]).toContain(committed);
      before = committed;
    }
  }, 120_000);
});

const traceable = spawnSync('strace', ['-f', '-o', '/dev/null', 'true']).status === 0;

describe.runIf(traceable)('durability, seen from the kernel', () => {
  it('each answer comes after the pages were flushed and the meta page was written through', async () => {
    const trace = join(folder, 'trace');
    const fresh = mkdtempSync(join(folder, 'traced-'));
    const calls = 'trace=openat,pwrite64,writev,pwritev,fdatasync,write';
    const args = ['-f', '-e', calls, '-o', trace, process.execPath, committer.path];
    const child = spawn('strace', [...args, fresh], {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    for await (const line of createInterface(child.stdout)) if (line === '20') break;
    process.kill(-child.pid!, 'SIGKILL');
    await once(child, 'close');

    const lines = readFileSync(trace, 'utf8').split('\n');
    const opened = lines.filter((line) => line.includes('/data.mdb"'));
    const throughMeta = /= (\d+)$/.exec(opened.find((line) => line.includes('O_DSYNC'))!)![1];
    const data = /= (\d+)$/.exec(opened.filter((line) => !line.includes('O_DSYNC')).at(-1)!)![1];
    // The order of: write of pages, flush, write of the meta page, answer.
    const steps = lines.flatMap((line) => {
      if (/ write\(1, "\d+\\n"/.test(line)) return ['answer'];
      if (new RegExp(`fdatasync\\(${data}\\)? .*= 0`).test(line)) return ['flush'];
      if (new RegExp(`pwrite64\\(${throughMeta},`).test(line)) return ['meta'];
      if (new RegExp(` (writev|pwritev|pwrite64)\\(${data},`).test(line)) return ['pages'];
      return [];
    });
    const upTo = steps.lastIndexOf('answer');
    const order = steps.slice(steps.indexOf('answer') + 1, upTo + 1).join(' ');
    expect(order).toMatch(/^((pages )+flush meta answer ?){15,}$/);
  }, 60_000);
});
