/** Random histories of one slot, for property tests. */
import fc from 'fast-check';
import type { OpWords } from './op-words.ts';
import type { SlotRig } from './slot-rig.ts';

export type Step =
  | { readonly do: 'op'; readonly op: OpWords }
  | { readonly do: 'send' | 'land' | 'expire' | 'takeOver' | 'handOver' }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'detach'; readonly connection: number };

/** Some have the same hash (`ab`, `ba`), some a namespace, one is long. */
export const NAMES = ['ab', 'ba', 'c', 'team\0c', 'ä', 'n'.repeat(500)] as const;
export const TOKENS = ['uuid:1', 'uuid:2', 'uuid:3', 'plain', `${'long'.repeat(16)}`] as const;

const name = fc.constantFrom(...NAMES);
const token = fc.constantFrom(...TOKENS);
const ttlMs = fc.constantFrom(1_000, 2_000, 60_000);
const optional = { requiredKeys: ['kind', 'name', 'token'] as ('kind' | 'name' | 'token')[] };
const metadata = fc.constantFrom('{}', '{"a":1}', `{"b":"${'x'.repeat(900)}"}`);
const owner = fc.constantFrom('me', 'o'.repeat(256));
const fencingToken = fc.integer({ min: 1, max: 20 });

const kind = <T extends OpWords['kind']>(value: T): fc.Arbitrary<T> => fc.constant(value);

const op: fc.Arbitrary<OpWords> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: kind('acquire'), name, token, ttlMs, owner, metadata }, optional),
  },
  { weight: 3, arbitrary: fc.record({ kind: kind('renew'), name, token, ttlMs, metadata }, optional) },
  { weight: 3, arbitrary: fc.record({ kind: kind('release'), name, token }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('get'), name }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('verify'), name, token }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('verify'), name, fencingToken }) },
);

// About a TTL, and about the time that ended tokens are remembered.
const WAITS = [0.5, 10, 500, 999.5, 1_010, 1_011.5, 2_011, 15_999, 16_000];

function steps(of: fc.Arbitrary<OpWords>, opWeight: number): fc.Arbitrary<Step> {
  const moment = (...what: ('send' | 'land' | 'expire')[]) => fc.record({ do: fc.constantFrom(...what) });
  return fc.oneof(
    { weight: opWeight, arbitrary: fc.record({ do: fc.constant('op' as const), op: of }) },
    { weight: 2, arbitrary: moment('send', 'land') },
    { weight: 1, arbitrary: moment('expire') },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(...WAITS) }),
    },
  );
}

/** Of plain exclusive claims alone. */
export const history = fc.array(steps(op, 6), { maxLength: 120, size: 'max' });

// ---- with all that a lock can be

const FEW_NAMES = ['ab', 'ba', 'team\0c'] as const;
export const FEW_TOKENS = ['uuid:1', 'uuid:2', 'uuid:3', 'plain'] as const;
const SESSIONS = ['uuid:s', 'another session'] as const;
const BATCHES = ['uuid:x', 'uuid:\0y'] as const;
const few = fc.constantFrom(...FEW_NAMES);
const fewTokens = fc.constantFrom(...FEW_TOKENS);
/** Nearly all ops of a history are of one principal. */
const principal = fc.constantFrom('', '', '', '', '', '', 'p');
const mode = fc.constantFrom(
  ...(['exclusive', 'exclusive', 'exclusive', 'shared', 'shared', 'shared'] as const).map((m) => ({
    mode: m,
  })),
  { mode: 'semaphore' as const, limit: 2 },
  { mode: 'semaphore' as const, limit: 2 },
  { mode: 'semaphore' as const, limit: 3 },
);
const who = fc.oneof(
  { weight: 4, arbitrary: fc.record({ connection: fc.nat(1), attempt: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: fc.constant({}) },
);
const session = fc.constantFrom(...SESSIONS);
const batch = fc.constantFrom(...BATCHES);
const flags = fc.constantFrom<NonNullable<OpWords['flags']>>(
  [],
  [],
  ['events'],
  ['keyed'],
  ['events', 'keyed', 'resumed'],
);
const often = <T>(arbitrary: fc.Arbitrary<T>, freq: number) => fc.option(arbitrary, { nil: undefined, freq });

const acquire: fc.Arbitrary<OpWords> = fc
  .record({
    name: few,
    token: fewTokens,
    principal,
    mode,
    who,
    flags,
    waitMs: fc.constantFrom(0, 0, 1_500, 60_000, 60_000),
    lockDelayMs: often(fc.constantFrom(700, 3_000), 1),
    ttlMs: often(ttlMs, 4),
    owner: often(owner, 1),
    metadata: often(metadata, 1),
    hangs: fc.constantFrom('', '', '', '', '', 'session', 'session', 'batch', 'both'),
    session,
    batch,
    newStub: fc.constantFrom(true, true, true, false),
  })
  .map(({ mode: m, who: w, hangs, newStub, ...made }) =>
    withoutUndefined({
      kind: 'acquire' as const,
      ...made,
      ...m,
      ...w,
      session: hangs === 'session' || hangs === 'both' ? made.session : undefined,
      batch: hangs === 'batch' || hangs === 'both' ? made.batch : undefined,
      flags: newStub && hangs !== '' ? [...made.flags, 'newStub' as const] : made.flags,
    }),
  );

function withoutUndefined(words: { readonly [K in keyof OpWords]: OpWords[K] | undefined }): OpWords {
  return Object.fromEntries(
    Object.entries(words).filter(([, value]) => value !== undefined),
  ) as unknown as OpWords;
}

const onSession = fc
  .record({
    kind: fc.constantFrom(
      'sessionOpen' as const,
      'sessionRenew' as const,
      'sessionEnd' as const,
      'sessionGet' as const,
      'sessionJoin' as const,
      'sessionActivate' as const,
      'stubRenew' as const,
      'stubRenew' as const,
      'stubEnd' as const,
    ),
    name: few,
    session,
    principal,
    ttlMs: often(ttlMs, 1),
    fencingToken: fc.nat(3),
  })
  .map((words): OpWords => withoutUndefined(words));

const richOp: fc.Arbitrary<OpWords> = fc.oneof(
  { weight: 12, arbitrary: acquire },
  {
    weight: 3,
    arbitrary: fc
      .record({
        kind: kind('renew'),
        name: few,
        token: fewTokens,
        principal,
        flags,
        ttlMs: often(ttlMs, 1),
        metadata: often(metadata, 1),
      })
      .map((words): OpWords => withoutUndefined(words)),
  },
  { weight: 5, arbitrary: fc.record({ kind: kind('release'), name: few, token: fewTokens, principal }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('get'), name: few }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('verify'), name: few, token: fewTokens, principal }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('verify'), name: few, fencingToken }) },
  {
    weight: 2,
    arbitrary: fc
      .record({ kind: kind('cancel'), name: few, token: fewTokens, principal, who })
      .map(({ who: w, ...words }): OpWords => ({ ...words, ...w })),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: kind('force'),
      name: few,
      principal,
      metadata: fc.constantFrom('', 'because'),
      fencingToken: fc.oneof(fc.constant(0), fencingToken),
    }),
  },
  { weight: 3, arbitrary: onSession },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('confirm' as const, 'confirm' as const, 'stubEnd' as const),
      name: few,
      batch,
      fencingToken: fc.constantFrom(1, 1, 1, 2, 3),
    }),
  },
);

const detach = fc.record({ do: fc.constant('detach' as const), connection: fc.nat(1) });
const move = fc.record({ do: fc.constantFrom('takeOver' as const, 'handOver' as const) });

/** Waits, modes, sessions, batches, force, delays, principals; `moves`: and new owners. */
export function richHistory(moves: boolean): fc.Arbitrary<Step[]> {
  const step = moves
    ? fc.oneof({ weight: 40, arbitrary: steps(richOp, 12) }, { weight: 1, arbitrary: move }, detach)
    : fc.oneof({ weight: 40, arbitrary: steps(richOp, 12) }, detach);
  return fc.array(step, { maxLength: 100, size: 'max' });
}

/** Anything that can be driven by steps. */
export interface Driven {
  now: number;
  send(): void;
  land(): void;
  expireAll(): void;
  takeOver(): void;
  handOver(): void;
  detach(connection: number): void;
}

export function drive(it: Driven, moment: Exclude<Step, { do: 'op' }>): void {
  if (moment.do === 'wait') it.now += moment.ms;
  else if (moment.do === 'expire') it.expireAll();
  else if (moment.do === 'detach') it.detach(moment.connection);
  else it[moment.do]();
}

export function runStep(rig: SlotRig, moment: Step): void {
  if (moment.do === 'op') rig.run(moment.op);
  else drive(rig, moment);
}
