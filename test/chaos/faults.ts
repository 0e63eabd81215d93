/**
 * What several processes on several etcd clusters do while parts of them are
 * killed, frozen and restarted, one after the other, under load: contenders
 * that check exclusion and fencing tokens, and a steady background that sees
 * every pause. `npm run bench:faults` is the long run, processes.test.ts the
 * short one.
 *
 *   for each event: calm ─► fault ─► healed ─► all own their slots again ─► calm
 */
import { LIMITS } from '../../src/limits.ts';
import { leaderOf, type EtcdCluster } from '../servers/etcd.ts';
import { pause } from '../servers/holdfast.ts';
import type { Place, Processes } from '../servers/processes.ts';
import { checkClaims } from './checker.ts';
import { Contenders } from './contenders.ts';
import { quantile } from './pauses.ts';
import { Steady } from './steady.ts';

export interface FaultSettings {
  readonly processes: Processes;
  readonly shards: readonly EtcdCluster[];
  /** The request time-out of the processes. */
  readonly requestTimeoutMs: number;
  /** Locks a second that the background takes and releases. */
  readonly rate: number;
  /** Groups of slots whose pauses are told apart; each is a slot of its own. */
  readonly groups: number;
  readonly contenders: number;
  /** How long a process stays dead, and an etcd member away. */
  readonly downMs: number;
  readonly memberAwayMs: number;
  /** Before and after each event. */
  readonly calmMs: number;
  /** Only the first process is killed, not each in turn. */
  readonly short: boolean;
  readonly say: (line: string) => void;
}

export interface EventReport {
  readonly event: string;
  readonly seconds: number;
  readonly ops: number;
  /** The longest time without any answer. */
  readonly pauseMs: number;
  /** Of the slots that were asked: the longest time without an answer on the worst, on half of them; how many over 1 s. */
  readonly slotPauseMs: number;
  readonly slotPauseP50Ms: number;
  readonly slotsPausedOver1s: number;
  readonly slots: number;
  /** The longest time without an answer from each process, whoever owned what it was asked for. */
  readonly processPauseMs: readonly number[];
  readonly refused: Readonly<Record<string, number>>;
  /** By the process that refused. */
  readonly processRefused: readonly number[];
  readonly unknown: number;
  readonly cut: number;
  readonly closed: number;
  /** Two holders, falling tokens, refusals that were none, grants that were lost. */
  readonly violations: readonly string[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** How long each part of it took. */
  readonly steps: readonly { readonly name: string; readonly ms: number }[];
}

const CONTENDED_NAMES = 60;
const CONTENDER_SOCKETS = 9;
const TTL_MS = 15_000;
/** Longer than the time-out by what a frozen or busy machine may add. */
const PATIENCE_MS = 4_000;

export class Faults {
  readonly reports: EventReport[] = [];
  readonly #settings: FaultSettings;
  readonly #steady: Steady;
  readonly #contenders: Contenders;
  #violationsTold = 0;
  #steps: { name: string; ms: number }[] = [];

  constructor(settings: FaultSettings) {
    this.#settings = settings;
    const urls = settings.processes.places.map((place) => place.wsUrl);
    const answerMs = settings.requestTimeoutMs + PATIENCE_MS;
    const { rate, groups } = settings;
    this.#steady = new Steady({ processes: urls, rate, groups, ttlMs: 2 * TTL_MS, answerMs });
    this.#contenders = new Contenders({
      wsUrl: (socket, tries) => urls[(socket + tries) % urls.length],
      names: Array.from({ length: CONTENDED_NAMES }, (_, i) => `contended/${i}`),
      sockets: CONTENDER_SOCKETS,
      clientsPerSocket: Math.ceil(settings.contenders / CONTENDER_SOCKETS),
      ttlMs: TTL_MS,
      answerMs,
    });
  }

  /** Claims that the contenders had. */
  get claims(): number {
    return this.#contenders.held.length;
  }

  async run(): Promise<void> {
    const { processes, shards, short } = this.#settings;
    this.#steady.start();
    this.#contenders.start();
    try {
      await pause(this.#settings.calmMs);
      this.#steady.take();
      await this.#event('nothing', () => pause(this.#settings.calmMs));
      for (const place of short ? processes.places.slice(0, 1) : processes.places) {
        await this.#event(`kill -9 of ${place.name}, started again`, () => this.#killProcess(place));
      }
      const frozen = processes.places[1];
      await this.#event(`${frozen.name} frozen past its lease`, () => this.#freeze(frozen));
      await this.#event('kill -9 of the leader of s0, started again', () => this.#killLeader(shards[0]));
      const last = shards.length - 1;
      await this.#event(`a member of s${last} away`, () => this.#memberAway(shards[last]));
      await this.#event('rolling restart', () => this.#rollingRestart());
    } finally {
      await Promise.all([this.#steady.stop(), this.#contenders.stop()]);
    }
    this.#addViolationsOfTheEnd();
  }

  async #event(name: string, fault: () => Promise<void>): Promise<void> {
    const { calmMs, groups, processes, say } = this.#settings;
    say(`${name} …`);
    this.#steps = [];
    const from = performance.now();
    await fault();
    await this.#settled();
    await pause(calmMs);
    const to = performance.now();
    const { settled, refused, refusedBy, unknown, cut, closed, tookMs } = this.#steady.take();
    const pauses = this.#steady.answers.pauses(from, to, groups, processes.places.length);
    const report: EventReport = {
      event: name,
      seconds: (to - from) / 1_000,
      ops: settled,
      pauseMs: pauses.allMs,
      slotPauseMs: Math.max(...pauses.byGroupMs),
      slotPauseP50Ms: quantile(pauses.byGroupMs, 0.5),
      slotsPausedOver1s: pauses.byGroupMs.filter((ms) => ms > 1_000).length,
      slots: groups,
      processPauseMs: pauses.byProcessMs,
      refused,
      processRefused: refusedBy,
      unknown,
      cut,
      closed,
      violations: this.#newViolations(),
      p50Ms: quantile(tookMs, 0.5),
      p99Ms: quantile(tookMs, 0.99),
      maxMs: quantile(tookMs, 1),
      steps: this.#steps,
    };
    this.reports.push(report);
    say(
      `  slots paused for at most ${report.slotPauseMs.toFixed(0)} ms, ${report.violations.length} violations`,
    );
  }

  #newViolations(): string[] {
    const { wrong, held } = this.#contenders;
    const all = [...this.#steady.wrong, ...wrong, ...checkClaims(held)];
    const fresh = all.slice(this.#violationsTold);
    this.#violationsTold = all.length;
    return fresh;
  }

  /** What only showed when the last requests were settled belongs to the last event. */
  #addViolationsOfTheEnd(): void {
    const last = this.reports.at(-1);
    if (last === undefined) return;
    const violations = [...last.violations, ...this.#newViolations()];
    this.reports[this.reports.length - 1] = { ...last, violations };
  }

  async #step<T>(name: string, run: () => Promise<T>): Promise<T> {
    const from = performance.now();
    const result = await run();
    this.#steps.push({ name, ms: performance.now() - from });
    return result;
  }

  /** Until the living processes own all slots again, each its part. */
  #settled(): Promise<void> {
    return this.#step('all slots in place', () => this.#settings.processes.settled());
  }

  #started(place: Place): Promise<void> {
    return this.#step(`${place.name} listens`, () => place.start());
  }

  async #killProcess(place: Place): Promise<void> {
    await place.kill();
    await pause(this.#settings.downMs);
    await this.#started(place);
  }

  async #freeze(place: Place): Promise<void> {
    place.freeze();
    await pause(LIMITS.leaseTtlMs + 2_000);
    place.wake();
  }

  async #killLeader(shard: EtcdCluster): Promise<void> {
    const leader = await leaderOf(shard);
    await leader.kill();
    await pause(this.#settings.downMs);
    await leader.start();
  }

  async #memberAway(shard: EtcdCluster): Promise<void> {
    const leader = await leaderOf(shard);
    const member = shard.members.find((one) => one !== leader)!;
    await member.kill();
    await pause(this.#settings.memberAwayMs);
    await member.start();
  }

  async #rollingRestart(): Promise<void> {
    for (const place of this.#settings.processes.places) {
      const { code } = await this.#step(`${place.name} ends`, () => place.stop());
      if (code !== 0)
        throw new Error(`${place.name} ended with ${code} after SIGTERM: ${place.server.output}`);
      await this.#started(place);
      await this.#settled();
    }
  }
}

/** One line an event. */
export function faultTable(reports: readonly EventReport[], processNames: readonly string[]): string {
  const ms = (value: number): string => value.toFixed(0);
  const head = [
    'event',
    'ops',
    'pause of all',
    'of the worst slot',
    'of half the slots',
    'slots > 1 s',
    ...processNames.map((name) => `of ${name}`),
    'P50 / P99 / max ms',
    'refused',
    'unknown',
    'cut',
    '1012',
    'violations',
  ];
  const rows = reports.map((one) => [
    one.event,
    String(one.ops),
    ms(one.pauseMs),
    ms(one.slotPauseMs),
    ms(one.slotPauseP50Ms),
    `${one.slotsPausedOver1s} of ${one.slots}`,
    ...one.processPauseMs.map(ms),
    `${one.p50Ms.toFixed(1)} / ${ms(one.p99Ms)} / ${ms(one.maxMs)}`,
    Object.entries(one.refused)
      .map(([code, count]) => `${code} ${count}`)
      .join(', ') || '0',
    String(one.unknown),
    String(one.cut),
    String(one.closed),
    String(one.violations.length),
  ]);
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const table = all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
  return [...table, ...reports.flatMap(stepsLine)].join('\n');
}

function stepsLine({ event, steps }: EventReport): string[] {
  const words = steps.map(({ name, ms }) => `${name} after ${(ms / 1_000).toFixed(1)} s`);
  return words.length === 0 ? [] : [`${event}: ${words.join(', ')}`];
}
