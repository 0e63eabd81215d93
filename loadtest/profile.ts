/**
 * Profiles: what the rate of a run does over time.
 *
 *   steady   the rate, all the time
 *   soak     the same for an hour, if no time is given
 *   ramp     from one rate to another, evenly
 *   peak     the rate, a third of the time another, the rate again
 *   step     from one rate to another in steps, until one is not held: the last one that was is the knee
 */
import type { Stretch } from './rate.ts';

export const PROFILES = ['steady', 'soak', 'ramp', 'peak', 'step'] as const;
export type ProfileName = (typeof PROFILES)[number];

const SECONDS = 30;
const SOAK_SECONDS = 3_600;
const STEPS = 10;
const STEP_SECONDS = 10;
/** In the first second of a step the rate changes; the others are judged. */
const STEP_SECONDS_MIN = 2;
/** Of the rate: where a ramp and steps begin, and how high a peak is, if nothing else is said. */
const LOW = 0.1;
const HIGH = 3;

export interface ProfileWishes {
  readonly profile: ProfileName;
  /** Ops a second. Of ramp and step it is where they end, unless `to` is given. */
  readonly rate: number;
  readonly seconds?: number | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly steps?: number | undefined;
}

/** The measured time of a run. */
export function stretchesOf(wishes: ProfileWishes): Stretch[] {
  const { profile, rate, steps = STEPS } = wishes;
  const seconds = wishes.seconds ?? (profile === 'soak' ? SOAK_SECONDS : SECONDS);
  const to = wishes.to ?? rate;
  const from = wishes.from ?? to * LOW;
  const even = (ops: number, part: number): Stretch => ({ seconds: seconds * part, from: ops, to: ops });
  switch (profile) {
    case 'steady':
    case 'soak':
      return [even(rate, 1)];
    case 'ramp':
      return [{ seconds, from, to }];
    case 'peak':
      return [even(rate, 1 / 3), even(wishes.to ?? rate * HIGH, 1 / 3), even(rate, 1 / 3)];
    case 'step': {
      const each = Math.max(STEP_SECONDS_MIN, Math.round((wishes.seconds ?? STEP_SECONDS * steps) / steps));
      const up = steps === 1 ? 0 : (to - from) / (steps - 1);
      return Array.from({ length: steps }, (_, i) => ({ ...even(from + i * up, 1), seconds: each }));
    }
  }
}
