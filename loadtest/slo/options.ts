/** The gate's command line and slo.yaml, as the plan of one run. */
import { relative, resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { ConfigError } from '../../src/config/error.ts';
import { readSloConfig, type Profile, type QuickSettings } from './config.ts';

export interface Plan {
  /** The file's path from the folder that package.json is in. */
  readonly config: string;
  readonly runs: number;
  readonly profiles: readonly Profile[];
  /** The machinery is tried: low rates, a few seconds, no target is judged. */
  readonly isQuick: boolean;
  readonly out: string;
  /** Node's own flags for Holdfast. */
  readonly nodeArgs: readonly string[];
}

/** Either a plan, or the slo.json whose report is to be drawn again. */
export type Wish = { readonly plan: Plan } | { readonly redraw: string; readonly out: string };

interface Flags {
  readonly config: string;
  readonly only?: readonly string[];
  readonly runs?: number;
  readonly seconds?: number;
  readonly warmup?: number;
  readonly quick?: true;
  readonly out: string;
  readonly nodeArgs: readonly string[];
  readonly redraw?: string;
}

const EXAMPLES = `
Examples:
  npm run slo
  npm run slo -- --only steady,peak --runs 3 --seconds 10
  npm run slo -- --quick

It ends with 0 when every target was met, with 1 when one was missed, a run died
or was not safe, and with 78 when its settings are wrong. docs/slo.md explains
slo.yaml and the report.`;

function newProgram(root: string): Command {
  const number =
    (least: number, isWhole: boolean) =>
    (text: string): number => {
      const value = Number(text);
      if (value >= least && (!isWhole || Number.isInteger(value))) return value;
      throw new ConfigError(`${text} is not a ${isWhole ? 'whole ' : ''}number of ${least} or more`);
    };
  const words = (text: string): string[] => text.split(/[\s,]+/).filter((word) => word !== '');
  return new Command('slo')
    .description('Runs the profiles of slo.yaml against etcd and Holdfast, judges them, and writes a report.')
    .option('--config <file>', 'profiles and targets', resolve(root, 'loadtest', 'slo.yaml'))
    .option('--only <profile,…>', 'these profiles alone', words)
    .option('--runs <n>', "runs of each profile, interleaved (default: the file's)", number(1, true))
    .option('--seconds <s>', "measured time of a run (default: the file's)", number(1, false))
    .option('--warmup <s>', "time before it (default: the file's)", number(0, false))
    .option('--quick', 'try the machinery at low rates, once and shortly; no target is judged')
    .option('--out <folder>', 'for slo.json, slo.html and figures', resolve(root, 'reports', 'slo'))
    .option('--node-args <flags>', "flags for Holdfast's Node, such as --cpu-prof", words, [])
    .option('--redraw <slo.json>', 'run nothing: draw the report of these figures again')
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .exitOverride();
}

/**
 * @param root the folder that package.json is in
 * @returns undefined when all that was asked for was help
 * @throws ConfigError for what is wrong in a flag or in the file
 */
export function readWish(args: readonly string[], root: string): Wish | undefined {
  const program = newProgram(root).configureOutput({ writeErr: () => {} });
  let flags: Flags;
  try {
    flags = program.parse(args, { from: 'user' }).opts<Flags>();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw new ConfigError(error.message.replace(/^error: /, ''));
  }
  const out = resolve(flags.out);
  if (flags.redraw !== undefined) return { redraw: resolve(flags.redraw), out };
  const config = readSloConfig(flags.config);
  const isQuick = flags.quick === true;
  const { only, seconds, warmup, nodeArgs } = flags;
  const profiles = chosen(config.profiles, only, flags.config)
    .map((profile) => (isQuick ? quick(profile, config.quick) : profile))
    .map((profile) => ({
      ...profile,
      seconds: seconds ?? profile.seconds,
      warmupSeconds: warmup ?? profile.warmupSeconds,
    }));
  const runs = flags.runs ?? (isQuick ? 1 : config.runs);
  // A report is for others: it names files as they do.
  const shown = relative(root, resolve(flags.config));
  return { plan: { config: shown, runs, profiles, isQuick, out, nodeArgs } };
}

function chosen(
  profiles: readonly Profile[],
  only: readonly string[] | undefined,
  file: string,
): readonly Profile[] {
  if (only === undefined) return profiles;
  const names = profiles.map(({ name }) => name);
  const unknown = only.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new ConfigError(`${file} has no profile ${unknown}; allowed: ${names.join(', ')}`);
  }
  if (only.length === 0) throw new ConfigError('--only names no profile');
  return profiles.filter(({ name }) => only.includes(name));
}

/** `spin` would take a core from a machine that tests run on. */
function quick(profile: Profile, settings: QuickSettings): Profile {
  const { rate, seconds, warmupSeconds, sockets, names, clients } = settings;
  return {
    ...profile,
    spin: false,
    rate: Math.min(profile.rate, rate),
    seconds,
    warmupSeconds,
    sockets: Math.min(profile.sockets ?? sockets, sockets),
    names: Math.min(profile.names ?? names, names),
    clients: Math.min(profile.clients ?? clients, clients),
  };
}
