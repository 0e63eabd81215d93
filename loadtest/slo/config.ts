/** loadtest/slo.yaml: the profiles and their targets. Its grammar is on the user's page, docs/slo.md. */
import { z } from 'zod';
import { ConfigError } from '../../src/config/error.ts';
import { configErrorOf, readYaml } from '../../src/config/yaml.ts';
import { LIMITS } from '../../src/limits.ts';

const COUNT = 'a whole number above 0';
const POSITIVE = 'a number above 0';
const PART = 'a number from 0 to 1';
const SENTENCE = 'a sentence';
const count = z.int(COUNT).min(1, COUNT);
const positive = z.number(POSITIVE).positive(POSITIVE);
const part = z.number(PART).min(0, PART).max(1, PART);
const seconds = z.number('0 or more seconds').min(0, '0 or more seconds').max(3_600, 'at most 3600 seconds');

function strict<T extends z.ZodRawShape>(shape: T) {
  const known = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? known : `settings ${known}`),
  });
}

const targetsShape = {
  /** Least part of the offered ops that are answered as expected in the measured time. */
  achieved: part.optional(),
  /** Most failed, lost or unanswered ops, as a part of all. */
  errorRate: part.optional(),
  /** Highest latencies, in ms from the intended send. */
  p50Ms: positive.optional(),
  p95Ms: positive.optional(),
  p99Ms: positive.optional(),
  /** Highest times from the release of a lock that is waited for to the next grant, in ms. */
  handOffP50Ms: positive.optional(),
  handOffP95Ms: positive.optional(),
  /** How far P50 may lie above that of the bare ceiling at the same rate, in ms. */
  overCeilingP50Ms: positive.optional(),
};

/** How the load driver is run; what is not given is as the workload says. */
const sizeShape = {
  protocol: z.enum(['binary', 'json', 'http'], 'binary, json or http').optional(),
  sockets: count.optional(),
  opsPerFrame: count.max(1_000, 'at most 1000').optional(),
  names: count.optional(),
  clients: count.optional(),
  processes: count.max(64, 'at most 64').optional(),
  holdMs: z.number('0 or more ms').min(0, '0 or more ms').optional(),
  ttlMs: count.optional(),
  /** Whether the driver looks at its clock all the time, for latencies far below a millisecond. */
  spin: z.boolean('true or false').optional(),
};

const profileSchema = strict({
  about: z.string(SENTENCE),
  workload: z.string('the name of a workload, or a YAML file'),
  rate: positive,
  ...sizeShape,
  seconds: seconds.optional(),
  warmupSeconds: seconds.optional(),
  /** Lanes of Holdfast, `--workers`; without it as many as it takes by itself. */
  workers: count.max(LIMITS.workersMax, `at most ${LIMITS.workersMax}`).optional(),
  /** Whether the bare ceiling is run at the same rate, too. */
  ceiling: z.boolean('true or false').default(false),
  targets: strict(targetsShape),
}).superRefine((profile, context) => {
  if (profile.targets.overCeilingP50Ms === undefined || profile.ceiling) return;
  context.addIssue({
    code: 'custom',
    path: ['ceiling'],
    message: 'true, where overCeilingP50Ms is a target',
  });
});

const fileSchema = strict({
  seconds,
  warmupSeconds: seconds,
  runs: count.max(100, 'at most 100'),
  targets: strict(targetsShape).default({}),
  quick: strict({
    rate: positive,
    seconds,
    warmupSeconds: seconds,
    sockets: count,
    names: count,
    clients: count,
  }),
  profiles: z
    .record(z.string().regex(/^[a-z][a-z0-9-]{0,30}$/), profileSchema, 'profiles by name')
    .refine((profiles) => Object.keys(profiles).length > 0, 'at least one profile'),
});

export type Targets = { readonly [T in keyof typeof targetsShape]?: number | undefined };
export type TargetName = keyof typeof targetsShape;
type ParsedProfile = z.infer<typeof profileSchema>;
export type QuickSettings = z.infer<typeof fileSchema>['quick'];

/** With everything filled in that the file says for all. */
export interface Profile extends Omit<ParsedProfile, 'seconds' | 'warmupSeconds' | 'targets'> {
  readonly name: string;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly targets: Targets;
}

export interface SloConfig {
  readonly runs: number;
  readonly quick: QuickSettings;
  readonly profiles: readonly Profile[];
}

/** @throws ConfigError that names the file and the place in it */
export function readSloConfig(path: string): SloConfig {
  return parseSloConfig(readYaml(path, 'the SLO file'), path);
}

export function parseSloConfig(content: unknown, where: string): SloConfig {
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) throw configErrorOf(parsed.error, where, content);
  const file = parsed.data;
  const profiles = Object.entries(file.profiles).map(([name, profile]) => ({
    ...profile,
    name,
    seconds: profile.seconds ?? file.seconds,
    warmupSeconds: profile.warmupSeconds ?? file.warmupSeconds,
    targets: { ...file.targets, ...profile.targets },
  }));
  const short = profiles.find((profile) => profile.seconds < 1);
  if (short !== undefined)
    throw new ConfigError(`${where}: ${short.name} is measured for less than a second`);
  return { runs: file.runs, quick: file.quick, profiles };
}
