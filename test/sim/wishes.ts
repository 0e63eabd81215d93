/**
 * What locks there are in a run, and how they are asked for: as a try or with a
 * wait, in which mode, with a lock delay.
 */
import { PLAIN, type Wish } from './history.ts';
import type { Random } from './random.ts';

/** Locks that many want, and locks that few want: those are mostly granted and released. */
export const HOT = ['alpha', 'order-12345', '{cart}/7', '{cart}/8', 'grüße', 'job:nightly'];
export const COOL = Array.from({ length: 16 }, (_, i) => `cool/${i}`);
/** Locks that several may hold at once: by readers and writers, and semaphores with as many places as the name says. */
export const CROWDS = ['rw/1', 'rw/2', 'places/2', 'places/3'];
/** Locks that sessions want, in many slots. */
export const OF_SESSIONS = [
  ...Array.from({ length: 8 }, (_, i) => `part/${i}`),
  'order-12345',
  'job:nightly',
];
export const NAMES = [...new Set([...HOT, ...COOL, ...CROWDS, ...OF_SESSIONS])];
/** Of these claims are ended by force now and then. */
export const FORCED = ['grüße', 'rw/2', 'places/3'];

const WAITS_MS = [200, 800, 2_500, 5_000, 12_000];
const LOCK_DELAYS_MS = [100, 400, 1_000];

/** The longest that anybody waits. */
export const WAIT_MS_MAX = Math.max(...WAITS_MS);

/** `waits`: the share of claims that are waited for. */
export function wishesFor(name: string, waits: number): (random: Random) => Wish {
  const isCrowd = CROWDS.includes(name);
  if (waits === 0 && !isCrowd) return () => PLAIN;
  return (random) => {
    const waitMs = random.chance(waits) ? random.pick(WAITS_MS) : 0;
    if (!isCrowd) return { ...PLAIN, waitMs };
    const lockDelayMs = random.chance(0.1) ? random.pick(LOCK_DELAYS_MS) : 0;
    // Now and then somebody wants a lock in another mode than all others.
    const isOdd = random.chance(0.03);
    if (name.startsWith('places/') === isOdd)
      return { ...PLAIN, mode: random.chance(0.35) ? 'exclusive' : 'shared', waitMs, lockDelayMs };
    return { ...PLAIN, mode: 'semaphore', limit: Number(name.slice(-1)), waitMs, lockDelayMs };
  };
}
