/**
 * Runs the profiles, interleaved: all of them once, then all of them again, so
 * that whatever else the machine does meets all alike. A run that dies is kept
 * as that, and the others go on.
 *
 *   for each run ─► for each profile ─► (ceiling) ─► fresh Holdfast ─► load ─► stop
 */
import { runCeilingProgram, runLoadDriver } from '../../bench/children.ts';
import type { HoldfastServer } from '../../test/servers/holdfast.ts';
import type { Profile } from './config.ts';
import type { Plan } from './options.ts';
import type { CeilingMeasurement, Failure, Measurement, ProfileRuns } from './records.ts';
import type { Servers } from './servers.ts';

/** How long the last answers are waited for. */
const DRAIN_SECONDS = 10;
/** On top of a run's own time: taking the first claims, and releasing them. */
const SLACK_SECONDS = 60;

export class Runner {
  readonly #plan: Plan;
  readonly #servers: Servers;
  readonly #stopped: AbortSignal;
  readonly #say: (line: string) => void;
  readonly #runs = new Map<Profile, (Measurement | Failure)[]>();
  readonly #ceilings = new Map<Profile, (CeilingMeasurement | Failure)[]>();

  /** @param stopped ends the run under way, which is then not kept */
  constructor(plan: Plan, servers: Servers, stopped: AbortSignal, say: (line: string) => void) {
    this.#plan = plan;
    this.#servers = servers;
    this.#stopped = stopped;
    this.#say = say;
    for (const profile of plan.profiles) {
      this.#runs.set(profile, []);
      this.#ceilings.set(profile, []);
    }
  }

  async run(): Promise<void> {
    for (let run = 1; run <= this.#plan.runs; run++) {
      for (const profile of this.#plan.profiles) {
        if (profile.ceiling) await this.#keep(profile, run, 'the ceiling', this.#ceilings, this.#ceiling);
        await this.#keep(profile, run, 'Holdfast', this.#runs, this.#load);
        if (this.#stopped.aborted) return;
      }
    }
  }

  get found(): ProfileRuns[] {
    return this.#plan.profiles.map((profile) => ({
      profile,
      runs: this.#runs.get(profile)!,
      ceilings: this.#ceilings.get(profile)!,
    }));
  }

  async #keep<T extends Measurement | CeilingMeasurement>(
    profile: Profile,
    run: number,
    what: string,
    kept: Map<Profile, (T | Failure)[]>,
    measure: (profile: Profile, run: number) => Promise<T>,
  ): Promise<void> {
    if (this.#stopped.aborted) return;
    this.#say(`run ${run} of ${this.#plan.runs}: ${profile.name}, ${what} at ${profile.rate} ops/s`);
    const startedAt = new Date().toISOString();
    try {
      const measured = await measure.call(this, profile, run);
      const { p50Ms, p95Ms, p99Ms } = measured.result.latency;
      this.#say(`  P50 ${p50Ms.toFixed(2)}  P95 ${p95Ms.toFixed(2)}  P99 ${p99Ms.toFixed(2)} ms`);
      kept.get(profile)!.push(measured);
    } catch (error) {
      if (this.#stopped.aborted) return;
      const failure = error instanceof Error ? error.message : String(error);
      this.#say(`  DIED: ${failure}`);
      kept.get(profile)!.push({ run, startedAt, failure });
      await this.#servers.mend().catch((mending: unknown) => this.#say(`  etcd: ${String(mending)}`));
    }
  }

  async #ceiling(profile: Profile, run: number): Promise<CeilingMeasurement> {
    const startedAt = new Date().toISOString();
    const { rate, seconds, warmupSeconds, opsPerFrame = 64 } = profile;
    const shards = [this.#servers.endpoints];
    const { result, cpu } = await runCeilingProgram(
      { shards, rate, opsPerFrame, warmupSeconds, seconds },
      new Map([['etcd', this.#servers.etcdPid]]),
      this.#deadline(profile),
    );
    return { run, startedAt, result, cpu: Object.fromEntries(cpu), footprint: this.#servers.footprint() };
  }

  async #load(profile: Profile, run: number): Promise<Measurement> {
    const startedAt = new Date().toISOString();
    const holdfast = await this.#servers.startHoldfast(profile.workers);
    try {
      const measured = await this.#measure(profile, holdfast);
      this.#servers.checkAlive(holdfast);
      return { run, startedAt, ...measured };
    } catch (error) {
      // What the driver said about it comes second.
      this.#servers.checkAlive(holdfast);
      throw error;
    } finally {
      await holdfast.stop();
    }
  }

  async #measure(
    profile: Profile,
    holdfast: HoldfastServer,
  ): Promise<Pick<Measurement, 'result' | 'cpu' | 'footprint' | 'counters'>> {
    const countersUntilNow = await this.#servers.countersFromNow(holdfast);
    const pids = new Map([
      ['holdfast', holdfast.pid],
      ['etcd', this.#servers.etcdPid],
    ]);
    const { result, cpu } = await runLoadDriver(
      { ...sizeOf(profile), url: holdfast.wsUrl, drainSeconds: DRAIN_SECONDS },
      pids,
      this.#deadline(profile),
    );
    const counters = await countersUntilNow();
    const footprint = this.#servers.footprint(holdfast);
    // Only merging needs those of the seconds, and they are most of the bytes.
    const timeline = result.timeline.map((second) => ({ ...second, histogram: '' }));
    return { result: { ...result, timeline }, cpu: Object.fromEntries(cpu), footprint, counters };
  }

  /** Ends a program that hangs, and every program when the gate is stopped. */
  #deadline({ warmupSeconds, seconds }: Profile): AbortSignal {
    const most = warmupSeconds + seconds + DRAIN_SECONDS + SLACK_SECONDS;
    const late = new AbortController();
    const end = (): void => late.abort(new Error(`it was not over after ${most} s`));
    setTimeout(end, most * 1000).unref();
    return AbortSignal.any([this.#stopped, late.signal]);
  }
}

/** The settings of the driver that a profile gives. */
function sizeOf(profile: Profile) {
  const given = Object.entries({
    protocol: profile.protocol,
    sockets: profile.sockets,
    opsPerFrame: profile.opsPerFrame,
    names: profile.names,
    clients: profile.clients,
    processes: profile.processes,
    holdMs: profile.holdMs,
    ttlMs: profile.ttlMs,
    isSpinning: profile.spin,
  }).filter(([, value]) => value !== undefined);
  const { workload, rate, seconds, warmupSeconds } = profile;
  return { workload, rate, seconds, warmupSeconds, ...Object.fromEntries(given) };
}
