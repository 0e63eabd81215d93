/**
 * A client that only looks. Where few others write, its answers leave with a
 * bare round trip on the term key, which is the only thing between a reader and
 * an owner that does not know that it is none any more.
 */
import type { Client } from './client.ts';

/** `names` and `paceMs`: what it looks at, and about how often. */
export function read(client: Client, names: readonly string[], paceMs: number): void {
  const told = new Map<string, number>();
  const next = (): void => {
    if (client.stopped) return;
    const name = client.random.pick(names);
    const fencingToken = told.get(name) ?? 0;
    const verify = fencingToken > 0 && client.random.chance(0.3);
    client.ask(verify ? { op: 'verify', name, fencingToken } : { op: 'get', name }, (reply) => {
      for (const { fencingToken: held } of reply?.holders ?? []) told.set(name, held);
    });
    client.after(client.random.delay(paceMs), next);
  };
  client.after(client.random.delay(paceMs), next);
}
