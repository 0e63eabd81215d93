/** One page of a TinyLane's listing. */
import type { Op } from '../../src/op.ts';
import type { Answer } from '../../src/protocol/answer.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { addToListPage, beginListPage, endListPage } from '../../src/protocol/page.ts';
import type { Claim } from './tiny-standing.ts';

interface Listed {
  readonly claims: readonly Claim[];
  /** That the page may speak for, in rising order; and one more than any slot. */
  readonly slots: readonly number[];
  readonly end: number;
  readonly pageMax: number;
  /** Puts the state of the lock into the answer. */
  show(key: string): void;
}

/** Puts the page that `op` asks for into `answer`. */
export function listClaims(op: Op, prefix: Buffer, answer: Answer, listed: Listed): void {
  const { claims, slots, end, pageMax, show } = listed;
  const text = (at: number, length: number): Buffer => Buffer.from(op.bytes.slice(at, at + length));
  const owner = text(op.ownerAt, op.ownerLength);
  const after = text(op.metadataAt, op.metadataLength);
  const all = claims
    .filter((claim) => claim.key.subarray(0, prefix.length).equals(prefix))
    .filter((claim) => owner.length === 0 || claim.owner.equals(owner))
    .filter(
      (claim) =>
        claim.slot > op.fencingToken || (claim.slot === op.fencingToken && claim.key.compare(after) > 0),
    )
    .sort((a, b) => a.slot - b.slot || a.key.compare(b.key));
  const page = new GrowingBytes();
  beginListPage(page);
  const shown = all.slice(0, Math.min(op.ttlMs, pageMax));
  for (const claim of shown) {
    show(claim.key.toString('hex'));
    addToListPage(page, claim.slot, claim.key, 0, claim.key.length, answer);
  }
  const next = shown.length < all.length ? shown[shown.length - 1].slot : end;
  const covered = slots.filter((slot) => slot >= op.fencingToken && slot <= next);
  endListPage(page, next, covered, answer);
}
