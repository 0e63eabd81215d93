/** Random histories of one slot, for property tests. */
import fc from 'fast-check';
import type { OpWords, SlotRig } from './slot-rig.ts';

export type Step =
  | { readonly do: 'op'; readonly op: OpWords }
  | { readonly do: 'send' | 'land' | 'expire' }
  | { readonly do: 'wait'; readonly ms: number };

/** Some have the same hash (`ab`, `ba`), some a namespace, one is long. */
export const NAMES = ['ab', 'ba', 'c', 'team\0c', 'ä', 'n'.repeat(500)] as const;
export const TOKENS = ['uuid:1', 'uuid:2', 'uuid:3', 'plain', `${'long'.repeat(16)}`] as const;

const name = fc.constantFrom(...NAMES);
const token = fc.constantFrom(...TOKENS);
const ttlMs = fc.constantFrom(1_000, 2_000, 60_000);
const optional = { requiredKeys: ['kind', 'name', 'token'] as ('kind' | 'name' | 'token')[] };
const metadata = fc.constantFrom('{}', '{"a":1}', `{"b":"${'x'.repeat(900)}"}`);

const op: fc.Arbitrary<OpWords> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record(
      {
        kind: fc.constant('acquire' as const),
        name,
        token,
        ttlMs,
        owner: fc.constantFrom('me', 'o'.repeat(256)),
        metadata,
      },
      optional,
    ),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('renew' as const), name, token, ttlMs, metadata }, optional),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('release' as const), name, token }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('get' as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('verify' as const), name, token }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('verify' as const),
      name,
      fencingToken: fc.integer({ min: 1, max: 20 }),
    }),
  },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('op' as const), op }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('send' as const, 'land' as const) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'expire' } as const) },
  {
    weight: 2,
    // About a TTL, and about the time that ended tokens are remembered.
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.constantFrom(0.5, 10, 500, 999.5, 1_010, 1_011.5, 2_011, 15_999, 16_000),
    }),
  },
);

export const history = fc.array(step, { maxLength: 120, size: 'max' });

/** Anything that can be driven by steps. */
export interface Driven {
  now: number;
  send(): void;
  land(): void;
  expireAll(): void;
}

export function drive(it: Driven, moment: Exclude<Step, { do: 'op' }>): void {
  if (moment.do === 'wait') it.now += moment.ms;
  else if (moment.do === 'expire') it.expireAll();
  else it[moment.do]();
}

export function runStep(rig: SlotRig, moment: Step): void {
  if (moment.do === 'op') rig.run(moment.op);
  else drive(rig, moment);
}
