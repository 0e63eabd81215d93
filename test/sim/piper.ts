/**
 * A client that does not wait: over one connection it takes and gives back the
 * same lock again and again, in bursts, each op a moment after the one before.
 * Nobody else wants the lock, so every answer tells whether order was kept.
 */
import type { Client } from './client.ts';
import type { Claim } from './history.ts';

/** Between two ops of a burst, at most. */
const STEP_MS_MAX = 6;
const TTLS_MS = [1_000, 6_000, 30_000];

/** `paceMs`: about how often a burst begins. */
export function pipe(client: Client, name: string, paceMs: number): void {
  const { random } = client;
  const begin = (): void => {
    if (!client.stopped) burst(1 + random.below(5));
  };
  const burst = (left: number): void => {
    if (left === 0) return client.after(random.delay(paceMs), begin);
    const claim = client.newClaim(name);
    const ttlMs = random.pick(TTLS_MS);
    claim.ownedUntilAtLeast = claim.firstSentAt + ttlMs * 0.999;
    client.ask({ op: 'acquire', name, claim, ttlMs }, () => undefined);
    soon(() => {
      if (random.chance(0.4)) client.ask({ op: 'get', name }, () => undefined);
      if (random.chance(0.2)) client.ask({ op: 'renew', name, claim }, () => undefined);
      soon(() => {
        release(claim);
        soon(() => burst(left - 1));
      });
    });
  };
  const release = (claim: Claim): void => {
    claim.releaseSentAt = client.now;
    client.ask({ op: 'release', name, claim }, () => undefined);
  };
  const soon = (then: () => void): void => {
    client.after(random.chance(0.5) ? 0 : random.between(0, STEP_MS_MAX), then);
  };
  client.after(random.delay(paceMs), begin);
}
