import { afterEach, beforeEach, expect, test } from 'vitest';
import { problem } from '../../src/protocol/schemas.ts';
import { type Rig, startRig } from './rig.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
let rig: Rig;

beforeEach(async () => {
  // Two lanes: lane 0 owns the slots of s0, lane 1 those of s1.
  rig = await startRig({ lanes: 2 });
});

afterEach(() => {
  expect(rig.front.connections.open).toBe(0);
  expect(rig.logged).toEqual([]);
  rig.stop();
});

interface Listed {
  locks: { name: string; held: boolean; holders: { owner: string }[] }[];
  nextCursor?: string;
}

async function list(query: string): Promise<Listed> {
  const response = await fetch(`${rig.url}/v1/locks${query}`);
  expect(response.status).toBe(200);
  return (await response.json()) as Listed;
}

async function take(names: readonly string[], owner = ''): Promise<void> {
  const ops = names.map((name) => ({ op: 'acquire', name, ...(owner !== '' && { owner }) }));
  const response = await fetch(`${rig.url}/v1/batch`, {
    method: 'POST',
    headers: JSON_TYPE,
    body: JSON.stringify({ ops }),
  });
  const { results } = (await response.json()) as { results: { status: number }[] };
  expect(results.every(({ status }) => status === 201)).toBe(true);
}

/** All pages from the first to the last. */
async function listAll(query: string): Promise<{ names: string[]; pages: number }> {
  const names: string[] = [];
  let pages = 0;
  let cursor = '';
  for (;;) {
    const page = await list(`?${query}${cursor}`);
    names.push(...page.locks.map(({ name }) => name));
    pages++;
    if (page.nextCursor === undefined) return { names, pages };
    cursor = `&cursor=${page.nextCursor}`;
    expect(pages).toBeLessThan(1_000);
  }
}

const NAMES = Array.from({ length: 250 }, (_, i) => `list/${i % 3 === 0 ? 'a' : 'b'}/${i}é`);

test('nothing held, nothing listed', async () => {
  expect(await list('')).toEqual({ locks: [] });
});

test('every lock is listed once, whatever the pages', async () => {
  await take(NAMES);
  await take(['other']);
  for (const [limit, pageMax] of [
    [1_000, 1_000],
    [100, 1_000],
    [7, 1_000],
    [100, 3],
    [1, 1_000],
  ]) {
    rig.lane.pageMax = pageMax;
    const { names, pages } = await listAll(`prefix=list%2F&limit=${limit}`);
    expect([...names].sort()).toEqual([...NAMES].sort());
    expect(pages).toBeGreaterThanOrEqual(Math.ceil(NAMES.length / Math.min(limit, 2 * pageMax)));
  }
});

test('prefix, owner and the default limit', async () => {
  await take(NAMES, 'me');
  await take(['list/a/mine'], 'you');
  const some = await listAll('prefix=list%2Fa');
  expect(some.names.length).toBe(NAMES.filter((name) => name.startsWith('list/a')).length + 1);
  expect((await listAll('owner=you')).names).toEqual(['list/a/mine']);
  expect((await listAll('owner=nobody')).names).toEqual([]);
  expect((await listAll(`prefix=${encodeURIComponent('list/b/1é')}`)).names).toEqual(['list/b/1é']);
  const first = await list('');
  expect(first.locks.length).toBe(100);
  expect(first.locks[0]).toMatchObject({ held: true, holders: [{ owner: 'me' }] });
});

test('a lock that is taken between pages is not listed twice, nor does it hide others', async () => {
  await take(NAMES);
  const first = await list('?limit=100');
  await take(Array.from({ length: 50 }, (_, i) => `late-${i}`));
  const seen = first.locks.map(({ name }) => name);
  let cursor = first.nextCursor;
  while (cursor !== undefined) {
    const page = await list(`?limit=100&cursor=${cursor}`);
    seen.push(...page.locks.map(({ name }) => name));
    cursor = page.nextCursor;
  }
  expect(new Set(seen).size).toBe(seen.length);
  expect(NAMES.every((name) => seen.includes(name))).toBe(true);
});

test.each([
  ['limit=0', 'query/limit'],
  ['limit=1001', 'query/limit'],
  ['limit=-1', 'query/limit'],
  ['limit=1e2', 'query/limit'],
  ['limit=', 'query/limit'],
  ['prefix=%00', 'query/prefix'],
  [`prefix=${'x'.repeat(513)}`, 'query/prefix'],
  [`owner=${'x'.repeat(257)}`, 'query/owner'],
  ['cursor=', 'query/cursor'],
  ['cursor=!!!', 'query/cursor'],
  ['cursor=____', 'query/cursor'],
  ['cursor=AAB', 'query/cursor'],
  ['page=2', 'query/page'],
  ['limit=1&limit=2', 'query/limit'],
])('%s is refused', async (query, pointer) => {
  const response = await fetch(`${rig.url}/v1/locks?${query}`);
  expect(response.status).toBe(400);
  expect(problem.parse(await response.json()).errors?.[0].pointer).toBe(pointer);
});

test('prefixes that are no names are fine', async () => {
  await take(['.hidden', '..twice']);
  expect((await listAll('prefix=.')).names.length).toBe(2);
  expect((await listAll('prefix=..')).names).toEqual(['..twice']);
});

test('a list with gaps is no list', async () => {
  await take(NAMES);
  const slots = Uint16Array.of(5);
  rig.announce(0, 'lost', slots);
  rig.lane.uncovered.add(5);
  const gap = await fetch(`${rig.url}/v1/locks`);
  expect([gap.status, problem.parse(await gap.json()).code]).toEqual([503, 'shard_unavailable']);
  rig.announce(0, 'owned', slots);
  rig.lane.uncovered.clear();
  expect((await listAll('')).names.length).toBe(NAMES.length);
  rig.lane.failWith = 'outcome_unknown';
  const failed = await fetch(`${rig.url}/v1/locks`);
  expect([failed.status, problem.parse(await failed.json()).code]).toEqual([503, 'shard_unavailable']);
});
