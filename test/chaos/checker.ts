/**
 * Judges what clients of real servers saw (DESIGN §9, invariants 1, 2 and 5),
 * by simple rules that take long histories. All times are of one monotonic
 * clock, in ms. It shares no code with the server.
 */

/** One claim that a client was told it has. */
export interface Held {
  readonly name: string;
  readonly client: string;
  readonly fencingToken: number;
  /** When the first request with its token was sent. */
  readonly askedAt: number;
  /** When the grant was known to the client. */
  readonly grantedAt: number;
  /** Until when the client may have believed that it holds it: its deadline, or when it sent the release. */
  readonly believedUntil: number;
}

export function checkClaims(claims: readonly Held[]): string[] {
  const wrong: string[] = [];
  const byName = new Map<string, Held[]>();
  for (const claim of claims) {
    const ofName = byName.get(claim.name);
    if (ofName === undefined) byName.set(claim.name, [claim]);
    else ofName.push(claim);
  }
  for (const ofName of byName.values()) {
    checkExclusion(ofName, wrong);
    checkFencing(ofName, wrong);
  }
  return wrong;
}

/** No two clients believe at one instant that they hold the same lock. */
function checkExclusion(claims: readonly Held[], wrong: string[]): void {
  const byTime = claims.toSorted((a, b) => a.grantedAt - b.grantedAt);
  let last: Held | undefined;
  for (const claim of byTime) {
    if (last !== undefined && claim.grantedAt < last.believedUntil && claim.believedUntil > claim.grantedAt) {
      wrong.push(`two holders: ${shown(last)} and ${shown(claim)}`);
    }
    if (last === undefined || claim.believedUntil > last.believedUntil) last = claim;
  }
}

/** Each grant has a token of its own, higher than every one known before it was asked for. */
function checkFencing(claims: readonly Held[], wrong: string[]): void {
  const byToken = new Map<number, Held>();
  for (const claim of claims) {
    const other = byToken.get(claim.fencingToken);
    if (other !== undefined) wrong.push(`one fencing token, two claims: ${shown(other)} and ${shown(claim)}`);
    byToken.set(claim.fencingToken, claim);
  }
  const known = claims.toSorted((a, b) => a.grantedAt - b.grantedAt);
  let next = 0;
  let highest: Held | undefined;
  for (const claim of claims.toSorted((a, b) => a.askedAt - b.askedAt)) {
    for (; next < known.length && known[next].grantedAt < claim.askedAt; next++) {
      if (highest === undefined || known[next].fencingToken > highest.fencingToken) highest = known[next];
    }
    if (highest !== undefined && claim.fencingToken <= highest.fencingToken) {
      wrong.push(`a fencing token fell: ${shown(highest)}, then ${shown(claim)}`);
    }
  }
}

function shown(claim: Held): string {
  const { name, client, fencingToken, askedAt, grantedAt, believedUntil } = claim;
  const times = [askedAt, grantedAt, believedUntil].map((at) => at.toFixed(1));
  return `${client} held ${name} (${fencingToken}): asked ${times[0]}, granted ${times[1]}, believed until ${times[2]}`;
}
