/** What a mutation is: exact text of a file, what stands there instead, and what has to notice. */
import type { ProfileName } from './profiles.ts';

interface Edit {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** A second place in the same file. */
  readonly also?: { readonly find: string; readonly replace: string };
}

/** Found within so many seeds, in the profile where it shows soonest. */
interface BySeeds {
  readonly profile: ProfileName;
  readonly seeds: number;
}

/** Found by the tests of this file. */
interface ByTests {
  readonly tests: string;
}

export type Mutation = Edit & (BySeeds | ByTests);
