/**
 * Judges a run by what its clients saw (DESIGN §9). It knows the contract of
 * API.md and shares no code with the machine, so the two can disagree.
 *
 * Each rule is also implied by linearizability where it says the same of one
 * lock; on its own it names the fault and the ops, which a failed search can't.
 */
import type { Claim, History, OpRecord, Violation } from './history.ts';
import { linearize } from './linearize.ts';

export interface CheckOptions {
  /** False: clocks of owners jumped, so claims may have ended early. */
  readonly honestClocks: boolean;
  readonly requestTimeoutMs?: number;
}

/** Floats: two true times nearer than this are the same instant. */
const INSTANT_MS = 1e-6;

export function checkHistory(history: History, options: CheckOptions): Violation[] {
  const violations: Violation[] = [];
  learnFencingTokens(history, violations);
  const names = groupBy(history.ops, (op) => op.name);
  const claimsOf = groupBy([...history.claims.values()], (claim) => claim.name);
  for (const [name, ops] of names) {
    const claims = claimsOf.get(name) ?? [];
    endForced(ops, claims, (options.requestTimeoutMs ?? Infinity) * STRAY_SHARE);
    if (options.honestClocks) {
      checkExclusion(name, claims, violations);
      checkFreedEarly(name, ops, claims, violations);
    }
    checkFencing(name, ops, violations);
    checkRepeats(name, ops, violations);
    checkStale(name, ops, claims, violations);
    checkLinearizable(name, ops, claims, options, violations);
  }
  return violations;
}

/** How long a request may take effect after it was sent: copies are late, and wait for an owner. In request time-outs. */
const STRAY_SHARE = 3;

/** A release by force ends what others still believe: fencing tokens are what protects then. */
function endForced(ops: readonly OpRecord[], claims: readonly Claim[], strayMs: number): void {
  for (const { op, seen, sentAt, endedAt, copies } of ops) {
    if (op !== 'force' || (seen !== undefined && seen.status >= 300)) continue;
    const until = copies > 0 || seen === undefined ? sentAt + strayMs : endedAt;
    for (const claim of claims) {
      if (claim.firstSentAt > until) continue;
      const at = Math.max(sentAt, claim.firstSentAt);
      claim.releaseSentAt = Math.min(claim.releaseSentAt, at);
      claim.promisedUntil = Math.min(claim.promisedUntil, at);
      claim.beliefs = claim.beliefs
        .filter(({ from }) => from < at)
        .map(({ from, until: end }) => ({ from, until: Math.min(end, at) }));
    }
  }
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

/** Answers to others tell a claim's fencing token even when its own answer was lost. All must tell the same. */
function learnFencingTokens(history: History, violations: Violation[]): void {
  for (const op of history.ops) {
    const told: [Claim | undefined, number][] = [];
    const { seen } = op;
    if (seen === undefined) continue;
    for (const { owner, fencingToken } of seen.holders)
      told.push([history.claimOfOwner(owner), fencingToken]);
    const own = history.claims.get(op.token);
    const tellsOwn = op.op === 'acquire' || op.op === 'renew' || (op.op === 'verify' && seen.yes);
    if (seen.status < 300 && seen.fencingToken > 0 && tellsOwn) told.push([own, seen.fencingToken]);
    for (const [claim, fencingToken] of told) {
      if (claim === undefined) continue;
      if (claim.fencingToken === 0) claim.fencingToken = fencingToken;
      if (claim.fencingToken === fencingToken) continue;
      const text = `claim ${claim.owner} of ${claim.name} had fencing token ${claim.fencingToken}, ${describe(op)} says ${fencingToken}`;
      violations.push({ rule: 'repeat', text });
    }
  }
}

/** (1) No more clients believe at one instant that they hold a lock than may hold it. */
function checkExclusion(name: string, claims: readonly Claim[], violations: Violation[]): void {
  const spans = claims.flatMap((claim) => claim.beliefs.map(({ from, until }) => ({ claim, from, until })));
  spans.sort((a, b) => a.from - b.from);
  let believed: typeof spans = [];
  for (const span of spans) {
    if (span.until <= span.from) continue;
    believed = believed.filter(({ claim, until }) => claim !== span.claim && span.from < until - INSTANT_MS);
    const last = believed.find(({ claim }) => !isBeside(span.claim, claim, believed.length));
    if (last !== undefined) {
      const text =
        `${name}: ${last.claim.owner} (${last.claim.fencingToken}) believed it from ${ms(last.from)} to ${ms(last.until)}, ` +
        `${span.claim.owner} (${span.claim.fencingToken}) from ${ms(span.from)}`;
      violations.push({ rule: 'exclusion', text });
    }
    believed.push(span);
  }
}

/** One may hold the lock when `count` do, of which `other` is one. */
function isBeside({ mode, limit }: Claim, other: Claim, count: number): boolean {
  if (mode === 'semaphore') return other.mode === mode && other.limit === limit && count < limit;
  return mode === 'shared' && other.mode === 'shared';
}

/** (6) Nobody gets a lock before the promise to its last holder ended, unless a release was asked for. */
function checkFreedEarly(
  name: string,
  ops: readonly OpRecord[],
  claims: readonly Claim[],
  violations: Violation[],
): void {
  for (const op of ops) {
    if (op.op !== 'acquire' || op.seen?.status !== 201) continue;
    const { fencingToken } = op.seen;
    for (const claim of claims) {
      if (claim.token === op.token || claim.fencingToken === 0 || claim.fencingToken > fencingToken) continue;
      if (op.wish.mode !== 'exclusive' && op.wish.mode === claim.mode) continue;
      if (claim.releaseSentAt < op.endedAt || claim.promisedUntil <= op.endedAt + INSTANT_MS) continue;
      const text = `${name}: ${claim.owner} (${claim.fencingToken}) was promised it until ${ms(claim.promisedUntil)}, but ${describe(op)}`;
      violations.push({ rule: 'freed early', text });
    }
  }
}

/** (2) A grant has a higher fencing token than every one told before it was asked for. */
function checkFencing(name: string, ops: readonly OpRecord[], violations: Violation[]): void {
  const told: { at: number; fencingToken: number; op: OpRecord }[] = [];
  const owners = new Map<number, string>();
  for (const op of ops) {
    if (op.seen === undefined) continue;
    const { fencingToken, holders, status } = op.seen;
    for (const holder of holders) told.push({ at: op.endedAt, fencingToken: holder.fencingToken, op });
    if (op.op !== 'acquire' || status >= 300) continue;
    told.push({ at: op.endedAt, fencingToken, op });
    const other = owners.get(fencingToken);
    if (other !== undefined && other !== op.token) {
      violations.push({
        rule: 'fencing',
        text: `${name}: fencing token ${fencingToken} was given to ${other} and ${op.token}`,
      });
    }
    owners.set(fencingToken, op.token);
  }
  told.sort((a, b) => a.at - b.at);
  const grants = ops
    .filter((op) => op.op === 'acquire' && op.seen?.status === 201)
    .sort((a, b) => a.sentAt - b.sentAt);
  let highest: (typeof told)[number] | undefined;
  let next = 0;
  for (const grant of grants) {
    for (; next < told.length && told[next].at < grant.sentAt; next++) {
      if (highest === undefined || told[next].fencingToken > highest.fencingToken) highest = told[next];
    }
    const { fencingToken } = grant.seen!;
    if (highest === undefined || highest.fencingToken < fencingToken) continue;
    // A wait that is taken up again may find that it got its lock before.
    if (highest.fencingToken === fencingToken && grant.wish.waitMs > 0) continue;
    // And so may a repeat that waits, whose first request was granted though nobody heard of it.
    if (grant.wish.waitMs > 0 && firstSentAt(ops, grant.token) <= highest.at) continue;
    const text = `${name}: ${describe(grant)} though ${highest.fencingToken} had been told before: ${describe(highest.op)}`;
    violations.push({ rule: 'fencing', text });
  }
}

/** (5) One claim a token: granted once, and no answer takes that back. Two that wait at one time may both be told. */
function checkRepeats(name: string, ops: readonly OpRecord[], violations: Violation[]): void {
  const grants = new Map<string, OpRecord>();
  for (const op of ops) {
    if (op.op !== 'acquire' || op.seen?.status !== 201) continue;
    const first = grants.get(op.token);
    const together = first !== undefined && first.wish.waitMs > 0 && op.sentAt <= first.endedAt;
    if (first !== undefined && !together) {
      violations.push({
        rule: 'repeat',
        text: `${name}: granted twice: ${describe(first)}; ${describe(op)}`,
      });
    }
    grants.set(op.token, op);
  }
}

/** (4) Once a claim is known to be over, nothing works with its token any more. */
function checkStale(
  name: string,
  ops: readonly OpRecord[],
  claims: readonly Claim[],
  violations: Violation[],
): void {
  const overAt = new Map<string, number>();
  const over = (token: string, at: number) => overAt.set(token, Math.min(at, overAt.get(token) ?? Infinity));
  const grants = ops.filter((op) => op.op === 'acquire' && op.seen !== undefined && op.seen.status < 300);
  for (const op of ops) if (op.op === 'release' && op.seen?.status === 204) over(op.token, op.endedAt);
  for (const claim of claims) {
    if (claim.fencingToken === 0) continue;
    const heirs = grants.filter(
      ({ seen, token, wish }) =>
        token !== claim.token &&
        seen!.fencingToken > claim.fencingToken &&
        (wish.mode === 'exclusive' || wish.mode !== claim.mode),
    );
    for (const heir of heirs) over(claim.token, heir.endedAt);
  }
  for (const op of ops) {
    if (op.seen === undefined || op.token === '' || op.op === 'get') continue;
    const at = overAt.get(op.token);
    if (at === undefined || op.sentAt <= at) continue;
    const worked = op.op === 'verify' ? op.seen.yes : op.seen.status < 300;
    if (worked)
      violations.push({ rule: 'stale token', text: `${name}: over since ${ms(at)}, yet ${describe(op)}` });
  }
}

/** (3) and all of the above at once. */
function checkLinearizable(
  name: string,
  ops: readonly OpRecord[],
  claims: readonly Claim[],
  options: CheckOptions,
  violations: Violation[],
): void {
  const judged = options.honestClocks
    ? claims
    : claims.map((claim) => ({ ...claim, ownedUntilAtLeast: claim.firstSentAt }));
  let blame = '';
  const result = linearize(ops, judged, (text) => (blame = text));
  if (result === 'ok') return;
  const text =
    result === 'undecided'
      ? `${name}: the search gave up`
      : `${name}: no order explains the answers: ${blame}`;
  violations.push({ rule: 'linearizability', text });
}

export function describe(op: OpRecord): string {
  const { client, op: kind, name, token, sentAt, endedAt, seen, id } = op;
  const answer = seen === undefined ? 'no answer' : `${seen.status} ${seen.code}`.trim();
  const fence = seen !== undefined && seen.fencingToken > 0 ? ` fencing token ${seen.fencingToken}` : '';
  return `${client} #${id} ${kind} ${name} ${token} [${ms(sentAt)}, ${ms(endedAt)}] ${answer}${fence}`;
}

function ms(at: number): string {
  return at.toFixed(1);
}

/** When the first acquire with this token was sent. */
function firstSentAt(ops: readonly OpRecord[], token: string): number {
  const sent = ops.filter((op) => op.op === 'acquire' && op.token === token).map((op) => op.sentAt);
  return Math.min(...sent);
}
