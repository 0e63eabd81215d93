/**
 * The state of one slot: its claims, the tokens that ended a short while ago,
 * and the counter that numbers every effect. A grant's fencing token is the
 * number of its effect, so tokens rise as long as the counter is kept.
 */
import { ClaimTable } from './claims.ts';
import { EndedTokens } from './ended-tokens.ts';

/** Bytes that a claim takes in a checkpoint beside its texts, about; and an ended token. */
const CLAIM_BYTES = 18;
const ENDED_BYTES = 11;
const FRAME_BYTES = 32;

export class Slot {
  readonly number: number;
  /** Number of the last effect, 0 = none yet. */
  counter = 0;
  readonly claims = new ClaimTable();
  readonly ended: EndedTokens;

  /** @param endedKeepMs how long the token of an ended claim is refused: twice the request time-out */
  constructor(number: number, endedKeepMs: number) {
    this.number = number;
    this.ended = new EndedTokens(endedKeepMs);
  }

  /** About what a checkpoint of it takes. */
  get bytes(): number {
    return (
      FRAME_BYTES + this.claims.count * CLAIM_BYTES + this.claims.textBytes + this.ended.count * ENDED_BYTES
    );
  }
}
