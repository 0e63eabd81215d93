/**
 * Where slots are when nothing has changed for long enough: each with the term
 * that the plan gives it to, and nothing half done.
 */
import { Buffer } from 'node:buffer';
import { ownerOf } from '../../src/slots/rendezvous.ts';
import type { Cluster } from './cluster.ts';
import type { ModelStore } from './model-store.ts';

interface TermText {
  readonly process: string;
  readonly state: string;
}

interface SlotText {
  readonly owner: string | null;
  readonly next: string | null;
}

/** Complains about every slot that is not with its planned owner, and all that is still under way. */
export function checkAtRest(cluster: Cluster): void {
  for (const store of cluster.stores) checkPlaces(store, cluster);
  // Somebody may just have asked something.
  if (cluster.processes.some(({ front }) => front.unanswered.length > 0)) return;
  for (const { id, front } of cluster.processes) {
    const { open } = front.connections;
    if (open !== 0) cluster.violate('answered', `${id}: ${open} requests are open and nobody sent one`);
    if (front.standing.size !== 0)
      cluster.violate('answered', `${id}: ${front.standing.size} waits stand and nobody waits`);
    if (front.underWay !== 0) cluster.violate('answered', `${id}: ${front.underWay} forwards are under way`);
  }
}

function checkPlaces(store: ModelStore, cluster: Cluster): void {
  const terms = new Map(read<TermText>(store, 'holdfast/term/'));
  const serving = [...terms.keys()].filter((term) => terms.get(term)!.state === 's');
  if (serving.length !== terms.size) cluster.violate('liveness', `${store.name}: not all terms serve`);
  for (const [id, { owner, next }] of read<SlotText>(store, 'holdfast/slot/')) {
    const planned = ownerOf(Number(id), serving);
    if (owner === planned) continue;
    const text = `slot ${id} of ${store.name} should be ${planned}'s, and is ${owner ?? 'nobody'}'s`;
    cluster.violate('liveness', next === null ? text : `${text}, for ${next}`);
  }
}

function read<T>(store: ModelStore, prefix: string): [string, T][] {
  const { entries } = store.range(prefix, `${prefix.slice(0, -1)}0`, Infinity, false);
  return entries.map(({ key, value }) => [
    key.slice(prefix.length),
    JSON.parse(Buffer.from(value).toString()) as T,
  ]);
}
