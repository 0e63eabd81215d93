/** The load driver's command line. */
import { Command, Option } from 'commander';
import { ConfigError } from '../src/config/error.ts';
import type { StepLimits } from './knee.ts';
import { PROFILES, stretchesOf, type ProfileName } from './profile.ts';
import { secondsOf } from './rate.ts';
import type { Protocol } from './result.ts';
import { isForFrames, newRunName, type LoadSettings } from './settings.ts';
import { readWorkload, workloadNames, type Step, type Workload } from './workload.ts';

export interface Options {
  readonly settings: LoadSettings;
  readonly processes: number;
  /** Where the result is written as JSON; `-` is standard output. */
  readonly json: string | undefined;
  /** Of a run in steps. */
  readonly limits: StepLimits;
}

/** Where neither a flag nor the workload's file says otherwise. */
const RATE = 66_667;
const NAMES = 131_072;
const SOCKETS = 8;
/** An HTTP connection has one open request, or a few. */
const HTTP_SOCKETS = 128;
const OPS_PER_FRAME = 64;
/** Of the general engine. */
const CLIENTS = 4_096;

interface Flags {
  readonly url: string;
  readonly workload: string;
  readonly protocol?: Protocol;
  readonly profile?: ProfileName;
  readonly rate?: number;
  readonly from?: number;
  readonly to?: number;
  readonly steps?: number;
  readonly seconds?: number;
  readonly warmup: number;
  readonly sockets?: number;
  readonly opsPerFrame?: number;
  readonly names?: number;
  readonly namesFile?: string;
  readonly shareNames?: true;
  readonly clients?: number;
  readonly hold?: number;
  readonly ttl?: number;
  readonly pipelining: number;
  readonly spin?: true;
  readonly drain: number;
  readonly processes: number;
  readonly p95: number;
  readonly achieved: number;
  readonly json?: string;
}

const EXAMPLES = `
Examples:
  npm run load -- --url ws://127.0.0.1:7420
  npm run load -- --workload hot-names --rate 20000 --processes 2 --share-names
  npm run load -- --workload mine.yaml --protocol http --pipelining 8
  npm run load -- --profile step --from 50000 --to 1000000 --steps 20 --p95 25

It ends with 1 when a lock had two holders or a fencing token fell. docs/load.md
explains the workload files, the profiles and the figures.`;

function newProgram(): Command {
  const about = workloadNames().map((name) => `  ${name.padEnd(21)}${readWorkload(name).about}`);
  const number = (text: string): number => {
    const value = Number(text);
    if (Number.isFinite(value) && value >= 0) return value;
    throw new ConfigError(`${text} is not a number of 0 or more`);
  };
  return new Command('load')
    .description(`Open-model load for a Holdfast server.\n\nWorkloads:\n${about.join('\n')}`)
    .option('--url <url>', 'server; ws://:KEY@host:port gives an API key', 'ws://127.0.0.1:7420')
    .option('--workload <name|file>', 'one of the above, or a YAML file', 'acquire-release')
    .addOption(new Option('--protocol <p>', 'default: binary').choices(['binary', 'json', 'http']))
    .addOption(new Option('--profile <p>', 'rate over time, default: steady').choices([...PROFILES]))
    .option('--rate <ops/s>', `all processes together (default: the workload's, or ${RATE})`, number)
    .option('--from <ops/s>', 'ramp, step: where they begin (default: a tenth of where they end)', number)
    .option('--to <ops/s>', 'ramp, step: where they end (default: the rate); peak: how high it is', number)
    .option('--steps <n>', 'step: how many (default: 10)', number)
    .option('--seconds <s>', 'measured time (default: 30; soak: an hour; step: 10 a step)', number)
    .option('--warmup <s>', 'time before it, at the rate with which it begins', number, 2)
    .option(
      '--sockets <n>',
      `connections (default: the workload's, or ${SOCKETS}; HTTP: ${HTTP_SOCKETS})`,
      number,
    )
    .option('--ops-per-frame <n>', `ops in one frame (default: the workload's, or ${OPS_PER_FRAME})`, number)
    .option('--names <n>', `different locks (default: the workload's, or ${NAMES})`, number)
    .option('--names-file <file>', 'take them from there: one a line, all of one length')
    .option('--share-names', 'several processes use the same locks, not each its own')
    .option('--clients <n>', "clients of the general engine (default: the workload's)", number)
    .option('--hold <ms>', 'time from grant to release, instead of what the workload says', number)
    .option('--ttl <ms>', "TTL of the claims instead of the workload's", number)
    .option('--pipelining <n>', 'HTTP: open requests on one connection', number, 1)
    .option('--spin', 'look at the clock all the time: takes a core, and is never half a millisecond late')
    .option('--drain <s>', 'how long the last answers are waited for', number, 10)
    .option('--processes <n>', 'driver processes', number, 1)
    .option('--p95 <ms>', 'step: a step with a higher one is not held', number, 25)
    .option('--achieved <0–1>', 'step: a step with fewer of its ops answered is not held', number, 0.99)
    .option('--json <file>', 'write the result there (- is standard output)')
    .addHelpText('after', EXAMPLES);
}

/** @throws ConfigError for what is wrong in a flag or in the workload's file */
export function readOptions(args: readonly string[]): Options {
  const flags = newProgram().parse(args, { from: 'user' }).opts<Flags>();
  const workload = withFlags(readWorkload(flags.workload), flags);
  const { defaults } = workload;
  const profile = flags.profile ?? defaults.profile ?? 'steady';
  const stretches = stretchesOf({
    profile,
    rate: flags.rate ?? defaults.rate ?? RATE,
    seconds: flags.seconds ?? defaults.seconds,
    from: flags.from ?? defaults.from,
    to: flags.to ?? defaults.to,
    steps: flags.steps ?? defaults.steps,
  });
  if (stretches.some(({ from, to, seconds }) => from <= 0 || to <= 0 || seconds <= 0)) {
    throw new ConfigError('rates and times must be above 0');
  }
  const protocol = flags.protocol ?? defaults.protocol ?? 'binary';
  const size = sizeOf(flags, workload, protocol);
  const settings: LoadSettings = {
    ...size,
    url: flags.url,
    workload,
    protocol,
    profile,
    stretches,
    seconds: secondsOf(stretches),
    warmupSeconds: flags.warmup,
    namesFile: flags.namesFile,
    run: newRunName(),
    areNamesShared: flags.shareNames === true,
    pipelining: flags.pipelining,
    isSpinning: flags.spin === true,
    drainSeconds: flags.drain,
    process: 0,
    processes: 1,
  };
  checkSettings(settings);
  const limits = {
    p95Ms: flags.p95,
    achieved: flags.achieved,
    isRefusable: workload.expect.length > 0,
  };
  return { settings, processes: flags.processes, json: flags.json, limits };
}

function sizeOf(
  flags: Flags,
  workload: Workload,
  protocol: Protocol,
): Pick<LoadSettings, 'sockets' | 'opsPerFrame' | 'names' | 'clients'> {
  const { defaults, popularity, parts } = workload;
  const sockets = flags.sockets ?? defaults.sockets ?? (protocol === 'http' ? HTTP_SOCKETS : SOCKETS);
  const opsPerFrame = protocol === 'http' ? 1 : (flags.opsPerFrame ?? defaults.opsPerFrame ?? OPS_PER_FRAME);
  const wanted = flags.names ?? defaults.names ?? NAMES;
  const clients =
    flags.clients ?? defaults.clients ?? (popularity === 'own' ? Math.min(wanted, CLIENTS) : CLIENTS);
  if (popularity !== 'own') return { sockets, opsPerFrame, names: wanted, clients };
  const atOnce = Math.max(...parts.flatMap(({ before, cycle }) => [...before, ...cycle].map(timesOf)));
  const isFast = isForFrames({ protocol, workload });
  return { sockets, opsPerFrame, names: isFast ? wanted : Math.max(wanted, clients * atOnce), clients };
}

function timesOf(step: Step): number {
  return step.call === 'acquire' ? step.times : 1;
}

function checkSettings({ protocol, workload, areNamesShared }: LoadSettings): void {
  const steps = workload.parts.flatMap(({ before, cycle, after }) => [...before, ...cycle, ...after]);
  if (protocol === 'binary' && steps.some(({ call }) => call === 'cached')) {
    throw new ConfigError('the binary protocol has no cached reads; allowed: --protocol json or http');
  }
  if (areNamesShared && workload.popularity === 'own') {
    throw new ConfigError('--share-names is for workloads whose popularity is uniform or zipf');
  }
}

/** The same workload with the times that flags give. */
function withFlags(workload: Workload, { hold, ttl }: Flags): Workload {
  const change = <T extends Step>(step: T): T => {
    if (step.call === 'hold') return hold === undefined ? step : { ...step, ms: [hold, hold] };
    return ttl === undefined ? step : { ...step, ttlMs: ttl };
  };
  const parts = workload.parts.map(({ weight, before, cycle, after }) => ({
    weight,
    before: before.map(change),
    cycle: cycle.map(change),
    after: after.map(change),
  }));
  return { ...workload, parts };
}
