/** What comes before an op on a lock is decided: what is over ends, and is granted to who waits. */
import type { Op } from '../op.ts';
import { OWN_BYTES_MAX, SHORT_EFFECT_BYTES_MAX } from './effects.ts';
import { endOver } from './endings.ts';
import { finishDelay, grantWaiting } from './queue.ts';
import type { Turn } from './turn.ts';

/** Holders that one op looks through for some that are over; timers find the rest, a lane tick later. */
const HOLDERS_LOOKED_AT_MAX = 64;

/**
 * Ends what is over on the lock of `row`, the lock of `op`, and grants what has
 * come free. Leaves the room that the op needs itself. Returns a row of the lock
 * as it is then, 0 = it has none.
 */
export function settle(turn: Turn, row: number, op: Op): number {
  const { slot, now, effects } = turn;
  const { claims } = slot;
  if (row === 0) return 0;
  const crowd = slot.crowdOf(row);
  if (crowd === undefined) {
    if (claims.freeAt(row) > now) return row;
    endOver(turn, row);
  } else {
    const room = OWN_BYTES_MAX + 2 * SHORT_EFFECT_BYTES_MAX;
    let looked = 0;
    for (const holder of crowd.holders) {
      if (++looked > HOLDERS_LOOKED_AT_MAX || effects.room() < room) break;
      // A stub takes others with it, of which the last one stood alone when it went.
      if (claims.lives(holder) && claims.freeAt(holder) <= now) endOver(turn, holder);
    }
    grantWaiting(turn, crowd, OWN_BYTES_MAX);
    if (crowd.delay !== 0 && claims.freeAt(crowd.delay) <= now && effects.room() >= room)
      finishDelay(turn, crowd.delay);
  }
  return claims.find(op.bytes, op.keyAt, op.keyLength, op.hash | 0);
}
