/**
 * A workload file: what the clients of a run do. Its grammar is on the user's
 * page, docs/load.md; the files that come with the driver are in workloads/.
 *
 * A client walks its part's cycle, again and again:
 *
 *   arrival (open model) ─► step 1 ─ answered ─► step 2 … ─► idle until its next arrival
 *
 * Arrivals come by the clock and never wait for answers.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { ConfigError } from '../src/config/error.ts';
import { configErrorOf, readYaml } from '../src/config/yaml.ts';
import { LIMITS } from '../src/limits.ts';
import { PROFILES } from './profile.ts';

const CALLS = [
  ...['acquire', 'renew', 'release', 'get', 'cached'],
  ...['session.open', 'session.keepalive', 'session.end'],
] as readonly Call[];
export type Call =
  'acquire' | 'renew' | 'release' | 'get' | 'cached' | 'session.open' | 'session.keepalive' | 'session.end';

export interface Lock {
  readonly mode: 'exclusive' | 'shared' | 'semaphore';
  /** Of a semaphore, else 0. */
  readonly limit: number;
  /** 0: a try. */
  readonly waitMs: number;
  readonly ttlMs: number;
}

export interface CallStep extends Lock {
  readonly call: Call;
  /** How many names at once. */
  readonly times: number;
}

/** A pause of that many ms, evenly spread between the two. */
export interface HoldStep {
  readonly call: 'hold';
  readonly ms: readonly [number, number];
}

export type Step = CallStep | HoldStep;

export interface Part {
  readonly weight: number;
  /** Done once for every name before the clock starts. */
  readonly before: readonly CallStep[];
  readonly cycle: readonly Step[];
  readonly after: readonly CallStep[];
}

/** `own`: each client has names that no other has. */
export type Popularity = 'own' | 'uniform' | { readonly zipf: number };

export interface Workload {
  readonly name: string;
  readonly about: string;
  readonly parts: readonly Part[];
  readonly popularity: Popularity;
  /** Refusals that belong to it. */
  readonly expect: readonly string[];
  /** What flags may say otherwise. */
  readonly defaults: Defaults;
}

const STEP = `one of ${CALLS.join(', ')}, or hold: ms`;
const MS = 'whole milliseconds';
const TTL = `whole milliseconds, ${LIMITS.ttlMsMin}–${LIMITS.ttlMsMax}`;
const COUNT = 'a whole number above 0';
const count = z.int(COUNT).min(1, COUNT);
const positive = z.number('a number above 0').positive('a number above 0');
const ms = z.int(MS).min(0, MS);
const ttl = z.int(TTL).min(LIMITS.ttlMsMin, TTL).max(LIMITS.ttlMsMax, TTL);
const list = 'a list of steps';

function strict<T extends z.ZodRawShape>(shape: T) {
  const known = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? known : `settings ${known}`),
  });
}

const lockShape = {
  mode: z.enum(['exclusive', 'shared', 'semaphore'], 'exclusive, shared or semaphore').optional(),
  limit: z.int('1–10000').min(1, '1–10000').max(10_000, '1–10000').optional(),
  waitMs: z.int(MS).min(0, MS).max(LIMITS.waitMsMax, `at most ${LIMITS.waitMsMax}`).optional(),
  ttlMs: ttl.optional(),
};
const timesShape = { times: count.max(1_000, 'at most 1000').optional() };
const HOLD = 'milliseconds, or two numbers [least, most]';
const hold = z.union([ms, z.tuple([ms, ms]).refine(([least, most]) => least <= most)], HOLD);

/** A step by its name, or by its name and settings, in one form. */
const stepSchema = z.preprocess(
  (step) => (typeof step === 'string' ? { [step]: {} } : step),
  z
    .strictObject(
      {
        ...Object.fromEntries(CALLS.map((call) => [call, strict(timesShape).optional()])),
        acquire: strict({ ...lockShape, ...timesShape }).optional(),
        hold: hold.optional(),
      },
      { error: () => STEP },
    )
    .refine((step) => Object.keys(step).length === 1, STEP),
);
const steps = z.array(stepSchema, list);
const partShape = {
  before: steps.default([]),
  cycle: steps.min(1, 'at least one step'),
  after: steps.default([]),
};

/** What a file says of the run's size, and flags say otherwise. */
const defaultsShape = {
  protocol: z.enum(['binary', 'json', 'http'], 'binary, json or http').optional(),
  profile: z.enum(PROFILES, PROFILES.join(', ')).optional(),
  rate: positive.optional(),
  from: positive.optional(),
  to: positive.optional(),
  steps: count.optional(),
  seconds: positive.optional(),
  names: count.optional(),
  clients: count.optional(),
  sockets: count.max(60_000, 'at most 60000').optional(),
  opsPerFrame: count.max(1_000, 'at most 1000').optional(),
};
const defaultsSchema = z.object(defaultsShape);
export type Defaults = z.infer<typeof defaultsSchema>;

const fileSchema = strict({
  about: z.string('a sentence'),
  ...defaultsShape,
  ...lockShape,
  popularity: z
    .union([z.enum(['own', 'uniform']), z.strictObject({ zipf: z.number().min(0).max(10) })], {
      error: () => 'own, uniform, or zipf: 0–10',
    })
    .default('own'),
  expect: z.array(z.string('codes of refusals'), 'a list of codes').default([]),
  before: steps.optional(),
  cycle: partShape.cycle.optional(),
  after: steps.optional(),
  mix: z
    .array(strict({ weight: positive, ...partShape }), 'a list of parts, each with weight and cycle')
    .min(1, 'at least one part')
    .optional(),
}).refine((file) => (file.cycle === undefined) !== (file.mix === undefined), 'either a cycle or a mix');

type ParsedStep = z.infer<typeof stepSchema>;
type ParsedFile = z.infer<typeof fileSchema>;

/** The workloads that come with the driver; also seen from where this file is compiled to. */
export function workloadFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return join(folder, 'loadtest', 'workloads');
}

export function workloadNames(): string[] {
  return readdirSync(workloadFolder())
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => basename(file, '.yaml'))
    .sort();
}

/**
 * @param nameOrFile one of those that come with the driver, or a file's path
 * @throws ConfigError that names the file and the place in it
 */
export function readWorkload(nameOrFile: string): Workload {
  const isFile = /[/\\.]/.test(nameOrFile);
  const path = isFile ? nameOrFile : join(workloadFolder(), `${nameOrFile}.yaml`);
  return parseWorkload(readYaml(path, 'the workload file'), basename(path, '.yaml'), path);
}

export function parseWorkload(content: unknown, name: string, where = name): Workload {
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) throw configErrorOf(parsed.error, where, content);
  const file = parsed.data;
  const parts = file.mix ?? [
    { weight: 1, before: file.before ?? [], cycle: file.cycle!, after: file.after ?? [] },
  ];
  const toStep = (step: ParsedStep): Step => stepOf(step, file);
  const toCalls = (all: readonly ParsedStep[]): CallStep[] =>
    all.map(toStep).filter((step): step is CallStep => step.call !== 'hold');
  const all = parts.map((part) => ({
    weight: part.weight,
    before: toCalls(part.before),
    cycle: part.cycle.map(toStep),
    after: toCalls(part.after),
  }));
  if (all.some((part) => opsOf(part) === 0)) {
    throw new ConfigError(`${where}: a cycle that does nothing: nobody holds what it renews or releases`);
  }
  return {
    name,
    about: file.about,
    parts: all,
    popularity: file.popularity,
    expect: file.expect,
    defaults: defaultsSchema.parse(file),
  };
}

function stepOf(step: ParsedStep, file: ParsedFile): Step {
  const [[call, settings]] = Object.entries(step) as [[Call | 'hold', unknown]];
  if (call === 'hold') {
    const of = settings as number | [number, number];
    return { call, ms: typeof of === 'number' ? [of, of] : of };
  }
  const own = settings as Partial<Omit<CallStep, 'call'>>;
  const mode = own.mode ?? file.mode ?? 'exclusive';
  return {
    call,
    times: own.times ?? 1,
    mode,
    limit: mode === 'semaphore' ? (own.limit ?? file.limit ?? 1) : 0,
    waitMs: own.waitMs ?? file.waitMs ?? 0,
    ttlMs: own.ttlMs ?? file.ttlMs ?? LIMITS.ttlMsDefault,
  };
}

/**
 * Ops of one arrival of the part. A renewal and a release are one op for each
 * lock that the client holds by then; the end of a session releases all with one.
 */
export function opsOf({ before, cycle }: Pick<Part, 'before' | 'cycle'>): number {
  let held = before.reduce((sum, step) => sum + (step.call === 'acquire' ? step.times : 0), 0);
  let ops = 0;
  for (const step of cycle) {
    if (step.call === 'hold') continue;
    ops += step.call === 'renew' || step.call === 'release' ? held : step.times;
    if (step.call === 'acquire') held += step.times;
    if (step.call === 'release' || step.call === 'session.end') held = 0;
  }
  return ops;
}
