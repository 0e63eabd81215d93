/**
 * One seed, one run:
 *
 *   birth ─► faults and load ─► all healed, load goes on ─► clients stop
 *     ─► every process is killed, one new one reads all back ─► judged
 */
import { Buffer } from 'node:buffer';
import { LIMITS } from '../../src/limits.ts';
import { Actor } from './actor.ts';
import { checkHistory, describe } from './checker.ts';
import { Client } from './client.ts';
import { Cluster } from './cluster.ts';
import { force } from './forcer.ts';
import { History, type OpRecord, type Violation } from './history.ts';
import { Nemesis } from './nemesis.ts';
import { pipe } from './piper.ts';
import { checkAtRest } from './placement-check.ts';
import { type Faults, PROFILES, type Profile, type ProfileName } from './profiles.ts';
import { Random } from './random.ts';
import { read } from './reader.ts';
import { Scheduler } from './scheduler.ts';
import { checkStores } from './store-audit.ts';
import { SessionActor } from './session-actor.ts';
import { COOL, CROWDS, FORCED, HOT, NAMES, OF_SESSIONS, WAIT_MS_MAX, wishesFor } from './wishes.ts';

export interface RunResult {
  readonly seed: number;
  readonly profile: ProfileName;
  readonly violations: readonly Violation[];
  readonly hash: number;
  readonly tail: readonly string[];
  readonly events: number;
  readonly ops: number;
  readonly granted: number;
  /** Of these: to clients that had a place in a queue, in a session, and of several at one time. */
  readonly waited: number;
  readonly inSessions: number;
  readonly shared: number;
  /** Claims that were ended by force. */
  readonly forced: number;
  readonly unknown: number;
  readonly commits: number;
  readonly terms: number;
  readonly handOvers: number;
  readonly forwards: number;
  readonly history: History;
}

const SHARDS = 2;
const MACHINES = 3;
const SLOTS = 16;
const CLIENTS = 5;
/** Rounds that overlap, rounds with gaps between them, and rounds that are nearly all reads. */
const LOADS = [
  { writeEveryMs: 40, hot: 0.4, cool: 0.25, readers: 0, pipers: 2 },
  { writeEveryMs: 100, hot: 0.4, cool: 0.25, readers: 0, pipers: 1 },
  { writeEveryMs: 200, hot: 0.4, cool: 0.25, readers: 1, pipers: 0 },
  { writeEveryMs: 700, hot: 0.4, cool: 0, readers: 4, pipers: 1 },
  { writeEveryMs: 3_000, hot: 0.2, cool: 0, readers: 3, pipers: 3 },
];
const SLOW_HOP = 0.001;
/** Shares of claims that are waited for, and of clients that want a lock that several may hold. */
const WAITS = [0, 0.3, 0.8];
const CROWDED = [0, 0.4];
/** Clients with sessions. */
const SESSIONS = [0, 0, 2];
const FORCE_EVERY_MS = 2_500;
const HANG_UP_EVERY_MS = 6_000;
const READ_EVERY_MS = 50;
const BURST_EVERY_MS = 250;
/** From the end of the faults until everything has to be served again: a lease that runs out, and a few seconds. */
const SETTLE_MS = LIMITS.leaseTtlMs + 4_000;
/** How long an op may take once everything is well. */
const SERVED_MS = 1_500;
const WELL_MS = 3_000;
/** How often it is looked whether a process that stops is gone. */
const STOP_LOOK_MS = 100;
/** An event storm: the code under test spins. */
const EVENTS_MAX = 2_000_000;

export const PROFILE_NAMES = Object.keys(PROFILES) as ProfileName[];

/** Faults during which every thread that lives goes on, and every store answers. */
const ATTENTIVE: ReadonlySet<string> = new Set<keyof Faults>([
  'kill',
  'stop',
  'join',
  'endLease',
  'breakPeers',
  'cutPeers',
]);

const ISOLATED_AFTER_MS = LIMITS.isolatedAfterMs;
const limits = LIMITS as { -readonly [K in keyof typeof LIMITS]: number };

/**
 * Bounds that a run of seconds would never reach are drawn per seed, so that
 * checkpoints, truncation and sweeping take part. The code reads LIMITS at use.
 */
function drawLimits(random: Random, { settleMs, isolatedAfterMs, sweepEveryMs, reattachMs }: Profile): void {
  limits.journalBytesMax = random.pick([64 * 1024 * 1024, 20_000, 5_000, 1_000]);
  limits.checkpointChunkBytes = random.pick([256 * 1024, 4_096]);
  limits.sweepEveryMs = random.pick([30_000, 4_000, 700]);
  if (sweepEveryMs !== undefined) limits.sweepEveryMs = sweepEveryMs;
  limits.recordPollMs = random.pick([10_000, 2_000]);
  // Small, also because memory that nobody fills has to be cleared.
  limits.entryBytesMax = random.pick([64 * 1024, 32 * 1024, 16 * 1024]);
  limits.batchSealBytes = random.pick([128 * 1024, 8_192, 4_096, 2_048]);
  limits.pageBytesMax = random.pick([1024 * 1024, 3_000]);
  limits.compactEveryMs = random.pick([1_500, 300]);
  limits.settleMs = random.pick([3_000, 1_000, 300]);
  if (settleMs !== undefined) limits.settleMs = settleMs;
  limits.handoversOpenMax = random.pick([32, 2]);
  limits.peerSilenceMs = random.pick([2_000, 700]);
  limits.isolatedAfterMs = isolatedAfterMs ?? ISOLATED_AFTER_MS;
  limits.notOwnerRetryMs = random.pick([20, 5, 200]);
  limits.peerRequestsMax = random.pick([131_072, 131_072, 6]);
  limits.peerBacklogBytesMax = random.pick([16 * 1024 * 1024, 2_000]);
  limits.reattachMs = random.pick([5_000, 1_500, 10_000]);
  if (reattachMs !== undefined) limits.reattachMs = reattachMs;
  limits.parkedWholeBytes = random.fork('parked').pick([16 * 1024, 1]);
}

/** Bounds at which requests are shed, which must not be in the way when all is well. */
function widenLimits(): void {
  limits.peerRequestsMax = 131_072;
  limits.peerBacklogBytesMax = 16 * 1024 * 1024;
}

export async function run(seed: number, profileName?: ProfileName): Promise<RunResult> {
  const random = new Random(seed, 'run');
  const name = profileName ?? PROFILE_NAMES[seed % PROFILE_NAMES.length];
  const profile: Profile = PROFILES[name];
  const { jumpClock, stopClock } = profile.faults;
  drawLimits(random.fork('limits'), profile);
  const scheduler = new Scheduler(random.fork('scheduler'));
  const cluster = new Cluster(scheduler, random.fork('cluster'), {
    shards: SHARDS,
    machines: MACHINES,
    lanes: 1 + random.fork('lanes').below(2),
    slots: SLOTS,
    requestTimeoutMs: profile.requestTimeoutMs ?? LIMITS.requestTimeoutMsDefault,
    storeFaults: profile.store,
    clientNetwork: profile.clients,
    peerFaults: profile.peers,
    machinesAtFirst: profile.machinesAtFirst ?? MACHINES,
    slowHop: profile.slowHop ?? SLOW_HOP,
    honestClocks: jumpClock === undefined && stopClock === undefined,
  });
  await cluster.begin();
  const history = new History(cluster.closedAt, cluster.killedAt);
  const clients = load(cluster, random, profile, history);
  const wellFrom = await live(cluster, clients, random, profile, history);
  const restAt = scheduler.now;
  const final = await readAllBack(cluster, random, history);
  cluster.finish();
  const defects: Violation[] = [];
  for (const { at, label, error } of scheduler.crashes) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    defects.push({ rule: 'defect', text: `event "${label}" at ${at.toFixed(1)} threw ${text}` });
  }
  const honestClocks = jumpClock === undefined;
  const { requestTimeoutMs } = cluster.options;
  const violations = [
    ...defects,
    ...cluster.violations,
    ...checkHistory(history, { honestClocks, requestTimeoutMs }),
    ...checkStores(cluster.stores, history, {
      honestClocks,
      prompt: profile.prompt ?? false,
      still: name === 'calm',
      resumedMs: profile.resumedMs,
      attentive: Object.keys(profile.faults).every((fault) => ATTENTIVE.has(fault)),
      wellFrom,
      restAt,
    }),
    ...final,
  ];
  return report(seed, name, cluster, history, violations);
}

function load(cluster: Cluster, random: Random, profile: Profile, history: History): Client[] {
  const join = (name: string): Client => {
    const transport = cluster.transport(name);
    const timeoutMs = cluster.options.requestTimeoutMs;
    return new Client(cluster.scheduler, random.fork(name), name, history, transport, timeoutMs);
  };
  const kind = random.fork('load').pick(LOADS);
  const waits = profile.waits ?? random.fork('waits').pick(WAITS);
  const crowded = profile.waits === undefined ? random.fork('crowds').pick(CROWDED) : CROWDED[1];
  const clients: Client[] = [];
  for (let i = 0; i < CLIENTS; i++) {
    const client = join(`c${i}`);
    client.paceMs = kind.writeEveryMs;
    const want = (lock: string, share: number) => {
      if (client.random.chance(share)) new Actor(client, lock, wishesFor(lock, waits));
    };
    for (const lock of HOT) want(lock, kind.hot);
    for (const lock of COOL) want(lock, kind.cool);
    for (const lock of CROWDS) want(lock, crowded);
    clients.push(client);
  }
  for (let i = 0; i < kind.readers; i++) {
    const client = join(`r${i}`);
    read(client, kind.cool === 0 ? HOT : NAMES, READ_EVERY_MS);
    clients.push(client);
  }
  const sessions = profile.sessions ?? random.fork('sessions').pick(SESSIONS);
  for (let i = 0; i < sessions; i++) {
    const client = join(`s${i}`);
    client.paceMs = Math.min(200, kind.writeEveryMs);
    for (let j = 0; j < 2; j++) new SessionActor(client, OF_SESSIONS, waits);
    clients.push(client);
  }
  if (crowded > 0) {
    const client = join('admin');
    force(client, FORCED, FORCE_EVERY_MS);
    clients.push(client);
  }
  for (let i = 0; i < kind.pipers; i++) {
    const client = join(`q${i}`);
    pipe(client, `pipe/${i}`, BURST_EVERY_MS);
    clients.push(client);
  }
  return clients;
}

/** Faults, then recovery, then a while in which everything must work; returns when that began. */
async function live(
  cluster: Cluster,
  clients: Client[],
  random: Random,
  profile: Profile,
  history: History,
): Promise<number> {
  const { scheduler } = cluster;
  const faultsUntil = scheduler.now + random.between(8_000, 20_000);
  const nemesis = new Nemesis(cluster, random.fork('nemesis'), profile, faultsUntil);
  for (const client of clients) hangUpNowAndThen(client, faultsUntil);
  await go(cluster, faultsUntil);
  nemesis.over = true;
  if (profile.prompt) await stopped(cluster);
  scheduler.note('ALL HEALED');
  cluster.heal();
  widenLimits();
  for (let machine = 0; machine < MACHINES; machine++) {
    if (cluster.machines[machine]?.state === 'stopping') cluster.kill(machine);
    if (cluster.machines[machine] === undefined) cluster.start(machine);
  }
  const wellFrom = scheduler.now + SETTLE_MS;
  await go(cluster, wellFrom + WELL_MS);
  for (const client of clients) client.stopped = true;
  // What is still under way ends: waits, time-outs of clients, late copies of requests.
  await go(cluster, scheduler.now + Math.max(cluster.options.requestTimeoutMs, WAIT_MS_MAX) + 2_000);
  const judged = ({ sentAt, patienceMs }: OpRecord) =>
    patienceMs > SERVED_MS && sentAt >= wellFrom && sentAt < wellFrom + WELL_MS;
  for (const op of history.ops.filter(judged)) if (!isOfLapsed(history, op)) checkServed(cluster, op);
  for (const { client, session, op, sentAt, endedAt, status } of history.sessionOps) {
    const isLate = status === 0 || status >= 500 || endedAt - sentAt > 2 * SERVED_MS;
    if (sentAt < wellFrom || sentAt >= wellFrom + WELL_MS || !isLate) continue;
    cluster.violate('liveness', `${op} of ${session} by ${client} at ${sentAt.toFixed(1)}: ${status}`);
  }
  checkAtRest(cluster);
  return wellFrom;
}

/** Until no process is on its way out: killed there, what waits for its slots would be late. */
async function stopped(cluster: Cluster): Promise<void> {
  const { scheduler, machines, options } = cluster;
  const latest = scheduler.now + options.requestTimeoutMs;
  const isStopping = () => machines.some((process) => process?.state === 'stopping');
  while (isStopping() && scheduler.now < latest) await go(cluster, scheduler.now + STOP_LOOK_MS);
}

function hangUpNowAndThen(client: Client, until: number): void {
  const next = (): void => {
    if (client.now < until) client.hangUp();
    if (client.now < until) client.after(client.random.delay(HANG_UP_EVERY_MS), next);
  };
  client.after(client.random.delay(HANG_UP_EVERY_MS), next);
}

function checkServed(cluster: Cluster, op: OpRecord): void {
  const servedMs = op.wish.waitMs + SERVED_MS;
  if (op.seen !== undefined && op.seen.status < 500 && op.endedAt - op.sentAt <= servedMs) return;
  cluster.violate('liveness', `${SETTLE_MS} ms after the last fault: ${describe(op)}`);
}

/**
 * Its client let the session lapse, and was told in time that nobody knows: a
 * grant that came in its last moments can't be promised any more.
 */
function isOfLapsed(history: History, { wish, unheardAt, sentAt: askedAt }: OpRecord): boolean {
  if (wish.session === '' || unheardAt - askedAt > wish.waitMs + SERVED_MS) return false;
  const { sessionOps } = history;
  return !sessionOps.some(({ session, sentAt }) => session === wish.session && sentAt >= unheardAt);
}

/** Locks that are taken for long, and a new process on the stores as they are: what it reads is part of the history. */
async function readAllBack(cluster: Cluster, random: Random, history: History): Promise<Violation[]> {
  const { scheduler } = cluster;
  const client = new Client(
    scheduler,
    random.fork('reader'),
    'reader',
    history,
    cluster.transport('reader'),
    cluster.options.requestTimeoutMs,
  );
  const ttlMs = LIMITS.ttlMsMax;
  for (const name of NAMES) {
    client.ask({ op: 'acquire', name, claim: client.newClaim(name), ttlMs }, (reply, { token }) => {
      if (reply?.status === 201) history.claims.get(token)!.ownedUntilAtLeast = Infinity;
    });
  }
  await go(cluster, scheduler.now + SERVED_MS);
  for (let machine = 0; machine < MACHINES; machine++) cluster.kill(machine);
  cluster.start(0);
  await go(cluster, scheduler.now + SETTLE_MS);
  let answered = 0;
  for (const name of NAMES)
    client.ask({ op: 'get', name }, (reply) => void (answered += reply?.status === 200 ? 1 : 0));
  await go(cluster, scheduler.now + SERVED_MS);
  if (answered === NAMES.length) return [];
  return [{ rule: 'liveness', text: `a new process answers for ${answered} of ${NAMES.length} locks` }];
}

async function go(cluster: Cluster, until: number): Promise<void> {
  if (await cluster.scheduler.run(until, EVENTS_MAX)) return;
  throw new Error(`more than ${EVENTS_MAX} events: the code under test spins`);
}

function report(
  seed: number,
  profile: ProfileName,
  cluster: Cluster,
  history: History,
  violations: Violation[],
): RunResult {
  const puts = cluster.stores.flatMap(({ log }) =>
    log.flatMap(({ changes }) => changes.filter(({ value }) => value !== undefined)),
  );
  const grants = history.ops.filter(({ op, seen }) => op === 'acquire' && seen?.status === 201);
  return {
    seed,
    profile,
    violations,
    hash: cluster.scheduler.hash,
    tail: cluster.scheduler.tail(),
    events: cluster.scheduler.count,
    ops: history.ops.length,
    granted: grants.length,
    waited: grants.filter(({ queuedAt }) => queuedAt < Infinity).length,
    inSessions: grants.filter(({ wish }) => wish.session !== '').length,
    shared: grants.filter(({ wish }) => wish.mode !== 'exclusive').length,
    forced: history.ops.reduce((sum, { seen }) => sum + (seen?.released ?? 0), 0),
    unknown: history.ops.filter((op) => op.seen === undefined).length,
    commits: puts.filter(({ key }) => key.startsWith('holdfast/journal/')).length,
    terms: new Set(puts.map(({ key }) => key).filter((key) => key.startsWith('holdfast/term/'))).size,
    handOvers: puts.filter(({ key, value }) => {
      return key.startsWith('holdfast/slot/') && Buffer.from(value!).includes('"owner":null,"next":"');
    }).length,
    forwards: cluster.forwards,
    history,
  };
}
