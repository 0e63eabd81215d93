/**
 * Judges what the stores applied, in the order in which they did (DESIGN §9):
 *
 *   one owner   only the term that a slot's record names writes effects for it,
 *               and only while its key stands; records change owner only when
 *               the last owner's key is gone, or by its own commit, which names
 *               the next: nobody else owns it then while that term lives;
 *               journals and effects have no gap
 *   exclusion   who holds, and waits, may do so beside the others (journal-state.ts)
 *   durability  what an answer acknowledged had been written before
 *   refused     what an answer said had not happened was not written, nor later
 *   freed early no claim ends by time while its client was promised more
 *   freed late  where nothing fails, a claim ends by time soon after its TTL:
 *               counted on, not anew, when its slot is handed over; and no
 *               session outlives its client for long
 *   delay       where nothing fails, a lock delay is as long as was asked for
 */
import { Buffer } from 'node:buffer';
import type { AuditOptions } from './audit-options.ts';
import { describe } from './checker.ts';
import type { Claim, History, OpRecord, Rule, Violation } from './history.ts';
import { readJournalEntry, type JournalEffect } from './journal-reader.ts';
import { type Grant, JournalState } from './journal-state.ts';
import type { Applied, ModelStore } from './model-store.ts';
import { tokenHex } from './request.ts';
import { checkWaits } from './waits-audit.ts';

/** What the audit needs of a store. */
export type AuditedStore = Pick<ModelStore, 'name' | 'log'>;

interface Ownership {
  readonly owner: string | null;
  readonly next: string | null;
}

function said({ owner, next }: Ownership): string {
  return owner ?? (next === null ? 'nobody' : `nobody, for ${next}`);
}

/** From the end of a TTL until the claim is gone: pads, ticks, a commit, and the slot may be on its way. */
const FREED_MS = 600;
/** A delay counts from the decision, not from the commit. */
const DELAY_SLACK_MS = 60;

export function checkStores(
  stores: readonly AuditedStore[],
  history: History,
  options: AuditOptions,
): Violation[] {
  const { honestClocks, prompt } = options;
  const violations: Violation[] = [];
  const audits = stores.map((store) => new StoreAudit(store, violations));
  const locks = audits.map((audit) => audit.run());
  const grants = new Map<string, Grant>();
  for (const grant of locks.flatMap((of) => of.grants))
    grants.set(`${grant.name} ${grant.fencingToken}`, grant);
  for (const op of history.ops) checkAcknowledged(op, grants, history, violations);
  checkRefused(grants, history, violations);
  for (const claim of history.claims.values()) if (honestClocks) checkPromise(claim, grants, violations);
  if (prompt) checkPrompt(grants, history, violations);
  if (prompt) for (const { delays } of locks) checkDelays(delays, violations);
  for (const { of, closedAt } of locks.flatMap(({ stubs }) => stubs)) {
    if (closedAt <= (options.restAt ?? Infinity)) continue;
    violations.push({
      rule: 'freed late',
      text: `session ${JSON.stringify(of)} ended at ${closedAt.toFixed(1)}`,
    });
  }
  checkWaits(
    locks.flatMap(({ waits }) => waits),
    locks.flatMap(({ idles }) => idles),
    [...grants.values()],
    history,
    options,
    violations,
  );
  return violations;
}

class StoreAudit {
  readonly #store: AuditedStore;
  readonly #violations: Violation[];
  readonly #terms = new Map<string, { seq: number }>();
  readonly #owners = new Map<number, Ownership & { since: number }>();
  readonly #counters = new Map<number, number>();
  readonly #locks: JournalState;
  #applied: Applied | undefined;

  constructor(store: AuditedStore, violations: Violation[]) {
    this.#store = store;
    this.#violations = violations;
    this.#locks = new JournalState((rule, text) => this.#violate(rule, this.#applied!, text));
  }

  run(): JournalState {
    for (const applied of this.#store.log) this.#apply(applied);
    this.#locks.finish(this.#applied?.at ?? 0);
    return this.#locks;
  }

  #apply(applied: Applied): void {
    this.#applied = applied;
    for (const { key, value } of applied.changes) {
      const [, kind, id, seq] = key.split('/');
      if (kind === 'term') this.#term(id, value);
      if (kind === 'slot' && value !== undefined) this.#slot(Number(id), value, applied);
      if (kind === 'slot' && value === undefined)
        this.#violate('durability', applied, `slot record ${id} was deleted`);
      if (kind === 'journal' && value !== undefined) this.#entry(id, Number(seq), value, applied);
    }
  }

  #term(id: string, value: Uint8Array | undefined): void {
    if (value === undefined) this.#terms.delete(id);
    else if (!this.#terms.has(id)) this.#terms.set(id, { seq: 0 });
  }

  #slot(slot: number, value: Uint8Array, applied: Applied): void {
    const now = JSON.parse(Buffer.from(value).toString()) as Ownership;
    const before = this.#owners.get(slot) ?? { owner: null, next: null, since: 0 };
    this.#owners.set(slot, { ...now, since: now.owner === before.owner ? before.since : applied.at });
    const text = `slot ${slot} went from ${said(before)} to ${said(now)}`;
    if (before.owner !== null && before.owner !== now.owner && this.#terms.has(before.owner)) {
      const own = applied.changes.some(({ key }) => key === `holdfast/term/${before.owner}`);
      if (!own || now.owner !== null || now.next === null)
        this.#violate('one owner', applied, `${text} while its owner lived`);
    }
    const isDirect = before.owner === null && before.next === now.owner;
    if (now.owner !== null && now.owner !== before.owner) this.#locks.takenOver(slot, applied.at, isDirect);
    if (before.owner === null && before.next !== null && this.#terms.has(before.next)) {
      if (now.owner !== before.next)
        this.#violate('one owner', applied, `${text} while the term that it was given to lived`);
    }
  }

  #entry(term: string, seq: number, value: Uint8Array, applied: Applied): void {
    const living = this.#terms.get(term);
    if (living === undefined)
      return this.#violate('one owner', applied, `term ${term} wrote entry ${seq} after its end`);
    if (seq !== living.seq + 1)
      this.#violate('durability', applied, `term ${term}: entry ${seq} after ${living.seq}`);
    living.seq = seq;
    let effects: JournalEffect[];
    try {
      effects = readJournalEntry(value);
    } catch (error) {
      return this.#violate('durability', applied, `entry ${term}/${seq} can't be read: ${String(error)}`);
    }
    for (const effect of effects) this.#effect(term, effect, applied);
  }

  #effect(term: string, effect: JournalEffect, applied: Applied): void {
    const { slot, number } = effect;
    const { owner, since } = this.#owners.get(slot) ?? { owner: undefined, since: 0 };
    if (owner !== term) {
      this.#violate(
        'one owner',
        applied,
        `term ${term} wrote effect ${number} of slot ${slot}, whose owner is ${String(owner)}`,
      );
    }
    const last = this.#counters.get(slot) ?? 0;
    if (number !== last + 1) {
      this.#violate('durability', applied, `slot ${slot}: effect ${number} of term ${term} follows ${last}`);
    }
    this.#counters.set(slot, number);
    this.#locks.apply(effect, { at: applied.at, term, since });
  }

  #violate(rule: Rule, { at, revision, by }: Applied, text: string): void {
    this.#violations.push({
      rule,
      text: `${this.#store.name} revision ${revision} by ${by} at ${at.toFixed(1)}: ${text}`,
    });
  }
}

/** An answer that says "done" leaves only once that is written. */
function checkAcknowledged(
  op: OpRecord,
  grants: ReadonlyMap<string, Grant>,
  history: History,
  violations: Violation[],
): void {
  if (op.seen === undefined || op.seen.status >= 300) return;
  const claim = history.claims.get(op.token);
  if (claim === undefined || op.op === 'verify' || op.op === 'force') return;
  const fencingToken = op.op === 'release' ? claim.fencingToken : op.seen.fencingToken;
  // Nobody ever learned that claim's fencing token: it can't be found.
  if (fencingToken === 0) return;
  const grant = grants.get(`${op.name} ${fencingToken}`);
  if (grant === undefined || grant.grantedAt > op.endedAt || grant.token !== tokenHex(op.token)) {
    violations.push({
      rule: 'durability',
      text: `answered before, or without, being written: ${describe(op)}`,
    });
  } else if (op.op === 'release' && (grant.reason !== 'released' || grant.endedAt > op.endedAt)) {
    violations.push({
      rule: 'durability',
      text: `released, but the journal does not say so: ${describe(op)}`,
    });
  }
}

/** Each grant and release is that of a request which had been sent and was not refused. */
function checkRefused(grants: ReadonlyMap<string, Grant>, history: History, violations: Violation[]): void {
  // Tests of single lanes keep no history of their requests.
  if (history.ops.length === 0) return;
  const asked = new Map<string, OpRecord[]>();
  for (const op of history.ops) {
    if (op.op !== 'acquire' && op.op !== 'release') continue;
    const key = `${op.op} ${op.name} ${tokenHex(op.token)}`;
    const ops = asked.get(key);
    if (ops === undefined) asked.set(key, [op]);
    else ops.push(op);
  }
  const opsOf = (op: string, { name, token }: Grant) => asked.get(`${op} ${name} ${token}`) ?? [];
  const judge = (op: 'acquire' | 'release', grant: Grant, at: number): void => {
    const { name, fencingToken } = grant;
    const ops = opsOf(op, grant).filter(({ sentAt }) => sentAt <= at);
    if (ops.some(mayHaveWorked)) return;
    // A process gives back what it got for a client that is gone.
    if (op === 'release' && opsOf('acquire', grant).some(({ wire }) => history.closedAt.has(wire))) return;
    const told = ops.length === 0 ? 'nobody had asked' : ops.map(describe).join('; ');
    const text = `${name}: ${op} of claim ${fencingToken} was written at ${at.toFixed(1)}, but ${told}`;
    violations.push({ rule: 'refused', text });
  };
  for (const grant of grants.values()) {
    judge('acquire', grant, grant.grantedAt);
    if (grant.reason === 'released') judge('release', grant, grant.endedAt);
  }
}

/** Who waits, or has a session, may hear of a claim when it has ended: 410. */
function mayHaveWorked({ seen, copies, wish }: OpRecord): boolean {
  if (seen === undefined || copies > 0 || seen.status < 300) return true;
  return seen.status === 410 && (wish.waitMs > 0 || wish.session !== '');
}

function checkPromise(claim: Claim, grants: ReadonlyMap<string, Grant>, violations: Violation[]): void {
  const grant = grants.get(`${claim.name} ${claim.fencingToken}`);
  const isOver =
    grant?.reason === 'expired' || (grant?.reason === 'session' && grant.endedAt < claim.releaseSentAt);
  if (grant === undefined || !isOver || grant.endedAt >= claim.promisedUntil) return;
  const text =
    `${claim.name}: claim ${claim.owner} (${claim.fencingToken}) was ended at ${grant.endedAt.toFixed(1)}, ` +
    `promised until ${claim.promisedUntil.toFixed(1)}`;
  violations.push({ rule: 'freed early', text });
}

/** A renewal that left the TTL as it was is in no journal: what the client saw of it counts. */
function checkPrompt(grants: ReadonlyMap<string, Grant>, history: History, violations: Violation[]): void {
  const renewedAt = new Map<string, number>();
  for (const op of history.ops) {
    if (op.op !== 'acquire' && op.op !== 'renew') continue;
    const token = tokenHex(op.token);
    const refused = op.seen !== undefined && op.seen.status >= 300;
    if (!refused) renewedAt.set(token, Math.max(op.endedAt, renewedAt.get(token) ?? 0));
  }
  for (const {
    name,
    token,
    fencingToken,
    grantedAt,
    takenOverAt,
    endedAt,
    reason,
    ttlMs,
  } of grants.values()) {
    if (reason !== 'expired') continue;
    const from = Math.max(grantedAt, takenOverAt, renewedAt.get(token) ?? 0);
    const lateMs = endedAt - from - ttlMs;
    if (lateMs <= FREED_MS) continue;
    const text = `${name}: claim ${fencingToken} had ${ttlMs} ms from ${from.toFixed(1)} and was ended ${lateMs.toFixed(0)} ms later`;
    violations.push({ rule: 'freed late', text });
  }
}

function checkDelays(delays: JournalState['delays'], violations: Violation[]): void {
  for (const { name, ms, lastedMs } of delays) {
    if (lastedMs >= ms - DELAY_SLACK_MS) continue;
    const text = `${name}: a delay of ${ms} ms was over after ${lastedMs.toFixed(0)} ms`;
    violations.push({ rule: 'delay', text });
  }
}
