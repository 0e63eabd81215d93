/** Whatever lane and link do: one last word for each wait, and a true one. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OpFlag } from '../../src/op.ts';
import { TruthLane } from './standing-lane.ts';
import { StandingRig, type Told } from './standing-rig.ts';

const WAIT_MS = 4_000;

interface Run {
  readonly rig: StandingRig;
  readonly lane: TruthLane;
  readonly told: Told;
  isLeft: boolean;
  /** What was true when the last word was said. */
  truth: string | undefined;
}

/** What may happen, by number: most often that something arrives. */
const STEPS: readonly ((run: Run, random: number) => void)[] = [
  ({ lane }) => lane.arrive(false),
  ({ lane }) => lane.arrive(false),
  ({ lane }) => lane.arrive(true),
  ({ lane }) => lane.deliver(),
  ({ lane }) => lane.deliver(),
  ({ lane }) => lane.deliver(),
  ({ lane }) => lane.free(),
  ({ lane }) => lane.timeOut(),
  ({ lane }) => lane.move(),
  ({ lane }) => lane.giveUp(),
  ({ lane }, random) => lane.refuse(random % 2 === 0 ? 'moving' : 'shard_unavailable'),
  ({ lane }, random) => lane.cut(() => random % 3 === 0, random % 2 === 0),
  ({ rig }, random) => rig.pass(20 * (1 + (random % 10))),
  ({ rig }, random) => rig.pass(20 * (1 + (random % 3))),
  ({ told }, random) => {
    if (random % 4 === 0) told.handle!.cancel();
  },
  (run, random) => {
    if (random % 16 !== 0) return;
    run.isLeft = true;
    run.told.handle!.leave();
  },
  ({ rig }, random) => {
    if (random % 16 === 0) rig.standing.drain();
  },
];

/** Nothing more is lost, and its time passes. */
function settle(run: Run): void {
  const { rig, lane } = run;
  for (let i = 0; i < 800 && rig.standing.size > 0; i++) {
    for (let k = 0; k < 4; k++) {
      lane.arrive(false);
      lane.deliver();
      observe(run);
    }
    lane.timeOut();
    rig.pass(20);
    observe(run);
  }
}

function observe(run: Run): void {
  if (run.told.finals.length > 0) run.truth ??= run.lane.state;
}

test('every wait gets exactly one last word, and what it says is so', () => {
  const words = new Map<string, number>();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(STEPS.length - 1), fc.nat(47)), { maxLength: 80, size: 'max' }),
      fc.boolean(),
      (steps, isMade) => {
        const rig = new StandingRig();
        const lane = new TruthLane(rig);
        const told = rig.wait(WAIT_MS, { flags: isMade ? OpFlag.madeToken : 0 });
        const run: Run = { rig, lane, told, isLeft: false, truth: undefined };
        for (const [step, random] of steps) {
          STEPS[step](run, random);
          observe(run);
        }
        const wordsBefore = told.finals.length;
        settle(run);
        check(run, wordsBefore);
        const word = told.finals[0] ?? 'none';
        words.set(word, (words.get(word) ?? 0) + 1);
      },
    ),
    { numRuns: Number(process.env['STANDING_RUNS'] ?? 4_000) },
  );
  // Or it would prove little.
  for (const word of [
    'final 201',
    'final 409 wait_timeout',
    'final 409 cancelled',
    'refused cancelled',
    'refused draining',
    'refused outcome_unknown',
    'none',
  ]) {
    expect(words.get(word), word).toBeGreaterThan(0);
  }
});

function check({ rig, lane, told, isLeft, truth }: Run, wordsBefore: number): void {
  const { finals } = told;
  expect([rig.standing.size, rig.connections.open]).toEqual([0, 0]);
  if (isLeft) expect(finals.length).toBeLessThanOrEqual(1);
  else expect(finals).toHaveLength(1);
  expect(finals.length).toBeGreaterThanOrEqual(wordsBefore);
  if (finals.length === 0 || finals[0].endsWith('outcome_unknown')) return;
  if (finals[0] === 'final 201') expect(truth).toBe('held');
  // What was not granted then is never granted: nobody would know.
  else
    expect([finals[0], truth, lane.state]).toEqual([
      finals[0],
      expect.not.stringMatching('held'),
      expect.not.stringMatching('held'),
    ]);
}
