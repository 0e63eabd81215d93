/** An administrator, who ends claims of others by force now and then: all of a lock, or one that was seen to hold it. */
import type { Client } from './client.ts';

/** `paceMs`: about how often. */
export function force(client: Client, names: readonly string[], paceMs: number): void {
  const { random } = client;
  const next = (): void => {
    if (client.stopped) return;
    const name = random.pick(names);
    if (random.chance(0.5)) client.ask({ op: 'force', name }, () => undefined);
    else {
      client.ask({ op: 'get', name }, (reply) => {
        const holders = reply?.holders ?? [];
        if (holders.length === 0) return;
        client.ask({ op: 'force', name, fencingToken: random.pick(holders).fencingToken }, () => undefined);
      });
    }
    client.after(random.delay(paceMs), next);
  };
  client.after(random.delay(paceMs), next);
}
