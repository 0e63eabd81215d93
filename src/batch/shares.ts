/**
 * Who serves how many slots: lanes of this process by their own word, other
 * processes by the shards' records.
 */
import type { TermInfo } from '../lane/messages.ts';
import { type Announced, NOBODY } from './announced.ts';
import type { Owners } from './owners.ts';

export interface Share {
  /** Index of the shard. */
  readonly shard: number;
  /** Of the process that serves them. */
  readonly lane: number;
  /** undefined: this process, before its own term was heard of. */
  readonly term: TermInfo | undefined;
  /** A lane of this process serves them. */
  readonly here: boolean;
  slots: number;
}

export function sharesOf(slots: number, announced: Announced, owners: Owners): Share[] {
  const shares = new Map<string, Share>();
  for (let slot = 0; slot < slots; slot++) {
    const lane = announced.laneOf[slot];
    const here = lane !== NOBODY;
    const remote = here ? undefined : owners.remote(slot);
    if (!here && remote === undefined) continue;
    const shard = here ? announced.shardOf[slot] : owners.at(slot)!.shard;
    const id = here ? `${shard} ${lane}` : remote!.id;
    const share = shares.get(id);
    if (share !== undefined) share.slots++;
    else {
      const term = here ? owners.own(announced.servedUnder(slot) ?? '')?.info : remote;
      shares.set(id, { shard, lane: here ? lane : remote!.lane, term, here, slots: 1 });
    }
  }
  return [...shares.values()].sort((a, b) => a.shard - b.shard);
}
