/**
 * An owner that stands still past its lease (frozen, its main thread blocked,
 * its lanes blocked) while others take its slots over: when it goes on it
 * commits nothing and tells nothing stale, and it takes part again. And clocks
 * that jump: nothing is freed early, nothing stalls.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { BinarySocket, CutError, type BinaryAnswer, type BinaryRequest } from '../e2e/sockets.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { PROVISION_MS, startTestShards, type EtcdCluster } from '../servers/etcd.ts';
import { pause, ROOT, temporaryFolder } from '../servers/holdfast.ts';
import { Owners } from '../servers/owners.ts';
import { Processes, type Place } from '../servers/processes.ts';
import { checkClaims } from './checker.ts';
import { Contenders } from './contenders.ts';
import { Steady } from './steady.ts';

/**
 * Others serve within this: up to half a lease until it shows that a thread
 * stands still, the lease, 1 s, and some for a machine that has other things to do.
 */
const TAKEOVER_MS = LIMITS.leaseTtlMs * 1.5 + 1_000 + 3_000;
/** How long it stands still: long enough for others to change everything meanwhile. */
const STILL_MS = TAKEOVER_MS + 3_000;
const HOUR_MS = 3_600_000;
/** Of the locks that are taken before a clock jumps, and how much later they may be free. */
const TTL_MS = 4_000;
const FREED_LATE_MS = 2_000;
const PRELOAD = pathToFileURL(join(ROOT, 'test/chaos/thread-faults.js')).href;

/** What it suffers; how that begins, and how it is over. */
type Case = [string, (place: Place) => Promise<void>, (place: Place) => Promise<void>];

// Renewals and reads need no commit, only the round trip that proves the term: these come alone, too.
const READS_ONLY = 'frozen, asked to renew and read only';

/** Sends each with its token until one of `wanted` is the answer; refused and unknown ones are sent again. */
async function insist(
  socket: BinarySocket,
  requests: readonly BinaryRequest[],
  wanted: readonly number[],
): Promise<BinaryAnswer[]> {
  const answers = await socket.askAll(requests);
  const again: number[] = [];
  for (const [i, { status }] of answers.entries()) {
    if (status === 503 || status === 504) again.push(i);
    else expect(wanted, `${requests[i].op} of ${requests[i].name}`).toContain(status);
  }
  if (again.length === 0) return answers;
  const repeated = await insist(
    socket,
    again.map((i) => requests[i]),
    [...wanted, 200, 410],
  );
  for (const [n, i] of again.entries()) answers[i] = repeated[n];
  return answers;
}

/** Two locks in one slot. */
interface Pair {
  readonly name: string;
  readonly other: string;
}

/** Another owner takes each pair, of which the first was held with a token. Returns the claims of the first ones. */
async function takeAll(
  place: Place,
  pairs: readonly Pair[],
  tokens: readonly Uint8Array[],
): Promise<{ claims: BinaryAnswer[]; tookMs: number }> {
  const socket = await BinarySocket.open(place.wsUrl);
  const from = performance.now();
  await insist(
    socket,
    pairs.map(({ name }, i) => ({ op: 'release', name, token: tokens[i] })),
    [204],
  );
  const tookMs = performance.now() - from;
  expect(tookMs).toBeLessThan(TAKEOVER_MS);
  const take = (all: readonly string[]): Promise<BinaryAnswer[]> => {
    const claim = { op: 'acquire', ttlMs: 120_000, owner: 'new' } as const;
    const requests = all.map((name) => ({ ...claim, name, token: randomBytes(16) }));
    return insist(socket, requests, [201]);
  };
  const claims = await take(pairs.map(({ name }) => name));
  await take(pairs.map(({ other }) => other));
  socket.close();
  return { claims, tookMs };
}

/** The process says that the names are held by the other owner. */
async function expectNew(
  place: Place,
  pairs: readonly Pair[],
  claims: readonly BinaryAnswer[],
): Promise<void> {
  const socket = await BinarySocket.open(place.wsUrl);
  const shown = await insist(
    socket,
    pairs.map(({ name }) => ({ op: 'get', name })),
    [200],
  );
  for (const [i, answer] of shown.entries()) {
    expect(answer).toMatchObject({ held: true, owner: 'new', fencingToken: claims[i].fencingToken });
  }
  socket.close();
}

type Late = readonly [BinaryAnswer, BinaryAnswer, BinaryAnswer, BinaryAnswer | undefined];

/** A socket whose requests stay unanswered far beyond their time-out is closed with 1011: that is a truthful answer, too. */
const UNANSWERED = 1_011;

async function askOne(socket: BinarySocket, request: BinaryRequest): Promise<BinaryAnswer> {
  try {
    return await socket.ask(request);
  } catch (error) {
    if (!(error instanceof CutError) || error.closeCode !== UNANSWERED) throw error;
    return UNKNOWN;
  }
}

const UNKNOWN: BinaryAnswer = {
  status: 504,
  code: CODES.outcome_unknown.wire,
  fencingToken: 0,
  ttlMs: 0,
  waitedMs: 0,
  expiresInMs: 0,
  current: false,
  held: false,
  token: undefined,
  owner: '',
  detail: '',
};

/** What the former holder and a latecomer ask the owner that stands still. */
function askOld(
  socket: BinarySocket,
  pairs: readonly Pair[],
  tokens: readonly Uint8Array[],
  old: readonly BinaryAnswer[],
  withAcquires: boolean,
): Promise<Late[]> {
  const asked = pairs.map(({ name, other }, i) =>
    Promise.all([
      askOne(socket, { op: 'renew', name, token: tokens[i] }),
      askOne(socket, { op: 'get', name }),
      askOne(socket, { op: 'verify', name, fencingToken: old[i].fencingToken }),
      withAcquires ? askOne(socket, { op: 'acquire', name: other, owner: 'late' }) : undefined,
    ]),
  );
  const all = Promise.all(asked);
  // Looked at later, unless something else fails before.
  all.catch(() => undefined);
  return all;
}

/** The truth by the time of these answers: the other owner has both locks. */
function judge(pairs: readonly Pair[], claims: readonly BinaryAnswer[], answers: readonly Late[]): void {
  for (const [i, [renewed, shown, verified, acquired]] of answers.entries()) {
    const { name } = pairs[i];
    expect([410, 503, 504], `renew of ${name}`).toContain(renewed.status);
    expect([200, 503, 504], `get of ${name}`).toContain(shown.status);
    const { fencingToken } = claims[i];
    if (shown.status === 200) expect(shown).toMatchObject({ owner: 'new', fencingToken });
    expect([200, 503, 504], `verify of ${name}`).toContain(verified.status);
    expect(verified.current).toBe(false);
    if (acquired !== undefined) expect([409, 503, 504], `acquire beside ${name}`).toContain(acquired.status);
  }
}

describe.skipIf(etcdMissing)('an owner that stood still', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let shards: EtcdCluster[] = [];
  let processes: Processes;

  beforeAll(async () => {
    folder = await temporaryFolder();
    shards = await startTestShards([1, 1]);
    const etcd = shards.map((shard) => shard.endpoints);
    const env = { NODE_OPTIONS: `--import ${PRELOAD}` };
    processes = await Processes.start({ count: 3, etcd, folder: folder.path, env });
  }, PROVISION_MS);

  afterAll(async () => {
    await processes?.kill();
    await Promise.all(shards.map((shard) => shard.stop()));
    await folder.remove();
  });

  /** Has the process's threads do what test/chaos/thread-faults.js knows. */
  function fault(place: Place, command: object): void {
    writeFileSync(join(place.folder, 'fault.json'), JSON.stringify(command));
    place.server.signal('SIGUSR2');
  }

  function said(place: Place, words: string): Promise<void> {
    const options = { timeout: 2 * STILL_MS, interval: 10 };
    return vi.waitFor(() => expect(place.server.output).toContain(words), options);
  }

  let contenders: Contenders | undefined;
  beforeEach(async () => {
    contenders = undefined;
    await processes.settled();
  }, 60_000);
  afterEach(() => contenders?.stop(), 60_000);

  function contend(tag: string): void {
    const urls = processes.places.map((place) => place.wsUrl);
    contenders = new Contenders({
      wsUrl: (socket, tries) => urls[(socket + tries) % urls.length],
      names: Array.from({ length: 40 }, (_, i) => `${tag}/contended/${i}`),
      sockets: 6,
      clientsPerSocket: 8,
      ttlMs: 10_000,
      answerMs: LIMITS.requestTimeoutMsDefault + 4_000,
    });
    contenders.start();
  }

  const frozen = (title: string): Case => [
    title,
    async (place) => place.freeze(),
    async (place) => place.wake(),
  ];
  const blocked = (threads: 'main' | 'lanes'): Case => [
    `its ${threads} blocked`,
    async (place) => {
      fault(place, { fault: 'block', threads, ms: STILL_MS });
      await said(place, `fault begins: block in ${threads}`);
    },
    (place) => said(place, `fault done: block in ${threads}`),
  ];

  test.each([frozen('frozen'), frozen(READS_ONLY), blocked('main'), blocked('lanes')])(
    '%s: commits nothing, tells nothing stale, takes part again',
    async (title, stop, goOn) => {
      const [still, other, third] = processes.places;
      const isLoaded = title !== READS_ONLY;
      if (isLoaded) contend(title);
      const pairs = await pairsOf(still, title);
      const tokens = pairs.map(() => randomBytes(16));
      const before = await BinarySocket.open(still.wsUrl);
      const old = await before.askAll(
        pairs.map(({ name }, i) => ({ op: 'acquire', name, token: tokens[i], ttlMs: 60_000, owner: 'old' })),
      );
      expect(new Set(old.map(({ status }) => status))).toEqual(new Set([201]));

      await stop(still);
      const asked = askOld(before, pairs, tokens, old, isLoaded);
      const { claims, tookMs } = await takeAll(other, pairs, tokens);
      console.log(`${title}: every slot served by the others after ${tookMs.toFixed(0)} ms`);
      for (const [i, { fencingToken }] of claims.entries())
        expect(fencingToken).toBeGreaterThan(old[i].fencingToken);

      await goOn(still);
      judge(pairs, claims, await asked);
      before.close();
      await expectNew(third, pairs, claims);
      await processes.settled();
      await expectNew(still, pairs, claims);
      await expectSound(isLoaded ? 100 : 0);
    },
    120_000,
  );

  /** The contenders of this test saw nothing wrong, and had so many claims. */
  async function expectSound(claims: number): Promise<void> {
    await contenders?.stop();
    const { wrong, held } = contenders ?? { wrong: [], held: [] };
    expect([...wrong, ...checkClaims(held)].slice(0, 5)).toEqual([]);
    expect(held.length).toBeGreaterThanOrEqual(claims);
  }

  /** Locks whose slots the process owns. */
  async function pairsOf(place: Place, title: string): Promise<Pair[]> {
    const owners = await Owners.read(shards.map((shard) => shard.endpoints));
    const pairs = Array.from({ length: 1_000 }, (_, i) => ({
      name: `{${title} ${i}}/one`,
      other: `{${title} ${i}}/two`,
    }));
    const owned = pairs.filter(({ name }) => owners.addressOf(name) === place.address).slice(0, 60);
    expect(owned).toHaveLength(60);
    return owned;
  }

  test('a wall clock that jumps: nothing is freed early, nothing stalls', async () => {
    const { places } = processes;
    const steady = new Steady({
      processes: places.map((place) => place.wsUrl),
      rate: 120,
      groups: 48,
      ttlMs: 30_000,
      answerMs: 2 * LIMITS.requestTimeoutMsDefault,
    });
    contend('clock');
    steady.start();
    await pause(1_000);
    const terms = await termsOf(places);
    steady.take();
    const from = performance.now();
    for (const [i, ms] of [3 * HOUR_MS, -9 * HOUR_MS].entries()) {
      const socket = await BinarySocket.open(places[i].wsUrl);
      const names = Array.from({ length: 60 }, (_, n) => `clock/${i}/${n}`);
      const sentAt = performance.now();
      const claims = await socket.askAll(names.map((name) => ({ op: 'acquire', name, ttlMs: TTL_MS })));
      expect(new Set(claims.map(({ status }) => status))).toEqual(new Set([201]));
      const until = Math.min(...claims.map(({ waitedMs, expiresInMs }) => sentAt + waitedMs + expiresInMs));
      for (const place of places) fault(place, { fault: 'clock', ms });
      for (const place of places) await saidTimes(place, 'fault done: clock in lanes', i + 1);
      await expectHeld(socket, names, until);
      await freedWithin(socket, names, sentAt + TTL_MS + FREED_LATE_MS);
      socket.close();
    }
    const to = performance.now();
    await steady.stop();
    const { refused, unknown, cut } = steady.take();
    expect([refused, unknown, cut]).toEqual([{}, 0, 0]);
    expect(Math.max(...steady.answers.pauses(from, to, 48, 3).byGroupMs)).toBeLessThan(TAKEOVER_MS / 2);
    expect(await termsOf(places)).toEqual(terms);
    expect(steady.wrong).toEqual([]);
    await expectSound(100);
  }, 60_000);

  function saidTimes(place: Place, words: string, times: number): Promise<void> {
    const count = (): number => place.server.output.split(words).length - 1;
    return vi.waitFor(() => expect(count()).toBeGreaterThanOrEqual(times), { timeout: 5_000, interval: 10 });
  }
});

/** The terms that each process says it began: a new one would mean that it lost one. */
async function termsOf(places: readonly Place[]): Promise<string[][]> {
  return places.map(({ server }) =>
    [...server.output.matchAll(/term begun .*"term":"(\w+)"/g)].map(([, id]) => id),
  );
}

/** Every one is held as long as its holder may believe it. */
async function expectHeld(socket: BinarySocket, names: readonly string[], until: number): Promise<void> {
  for (let looks = 0; ; looks++) {
    const answers = await socket.askAll(names.map((name) => ({ op: 'get', name })));
    if (performance.now() > until) {
      expect(looks).toBeGreaterThan(3);
      return;
    }
    expect(answers.filter(({ held }) => !held)).toEqual([]);
    await pause(100);
  }
}

async function freedWithin(socket: BinarySocket, names: readonly string[], until: number): Promise<void> {
  for (let held = names; held.length > 0;) {
    const answers = await socket.askAll(held.map((name) => ({ op: 'acquire', name })));
    held = held.filter((_, i) => answers[i].status === 409);
    expect(performance.now()).toBeLessThan(until);
    await pause(50);
  }
}
