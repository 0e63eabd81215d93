/**
 * Judges queues by what the stores applied and what clients did (DESIGN §9, 7):
 *
 *   durability   who was told of a place in the queue had it by then
 *   live client  nobody is granted a lock after waiting whose process was dead
 *                when the owner came to the slot, or, while nothing is held up,
 *                whose end the owner must have heard of
 *   liveness     when all is well nobody is left waiting whose lock is free,
 *                nobody loses a place who still waits for it, and whoever is gone
 *                does not stand in the way for longer than the grace
 *   queue        a wait ends when its time is over, not before, and by
 *                cancellation only if its client asked for that, or once more
 *                for the same claim
 */
import { LIMITS } from '../../src/limits.ts';
import type { AuditOptions } from './audit-options.ts';
import { describe } from './checker.ts';
import type { History, OpRecord, Violation } from './history.ts';
import type { Grant, Idle, Wait } from './journal-state.ts';
import { tokenHex } from './request.ts';

/** How long a waiter's lock may be free: its process finds the new owner, or the way to it again. */
const RESUMED_MS = 2_000;
/** The same where owners do not change: it is granted with what lets it go. */
const GRANTED_MS = 50;
/** How long the last word on a wait may take once its time is over. */
const LAST_WORD_MS = 600;
/** Clocks run at different rates. */
const CLOCK_SHARE = 0.999;
/** From the end of a client until its cancellation, or the silence of its process, has come through. */
const heardOfMs = (): number => 2 * LIMITS.peerSilenceMs + 1_800;

export function checkWaits(
  waits: readonly Wait[],
  idles: readonly Idle[],
  grants: readonly Grant[],
  history: History,
  options: AuditOptions,
  violations: Violation[],
): void {
  const audit = new WaitsAudit(waits, history, options, violations);
  audit.checkTold();
  for (const grant of grants) if (grant.wait !== undefined) audit.checkLive(grant);
  for (const idle of idles) audit.checkIdle(idle);
  for (const wait of waits) audit.checkKept(wait);
  for (const op of history.ops) if (op.wish.waitMs > 0) audit.checkAnswer(op);
}

class WaitsAudit {
  readonly #history: History;
  readonly #options: AuditOptions;
  readonly #violations: Violation[];
  /** By name and token. */
  readonly #waits = new Map<string, Wait[]>();
  /** The same of requests to wait. */
  readonly #asked = new Map<string, OpRecord[]>();

  constructor(waits: readonly Wait[], history: History, options: AuditOptions, violations: Violation[]) {
    this.#history = history;
    this.#options = options;
    this.#violations = violations;
    for (const wait of waits) add(this.#waits, `${wait.name} ${wait.token}`, wait);
    for (const op of history.ops)
      if (op.op === 'acquire' && op.wish.waitMs > 0) add(this.#asked, `${op.name} ${tokenHex(op.token)}`, op);
  }

  checkTold(): void {
    for (const op of this.#history.ops) {
      if (op.queuedAt === Infinity) continue;
      const waits = this.#waits.get(`${op.name} ${tokenHex(op.token)}`) ?? [];
      if (waits.some(({ queuedAt }) => queuedAt <= op.queuedAt)) continue;
      const text = `told at ${ms(op.queuedAt)} of a place that was not written by then: ${describe(op)}`;
      this.#violations.push({ rule: 'durability', text });
    }
  }

  /** Of copies, and of requests that were answered, nobody knows who they were for. */
  checkLive({ name, fencingToken, token, grantedAt, bySince }: Grant): void {
    const ops = this.#askedBefore(name, token, grantedAt);
    if (ops.some(({ copies }) => copies > 0)) return;
    const { killedAt } = this.#history;
    const isDead = ops.every(({ wire, queuedAt }) => {
      const at = killedAt.get(wire) ?? Infinity;
      // Without a place it may have waited for the slot where that came to, sent there before its process died.
      return at < bySince && (queuedAt < Infinity || at + heardOfMs() < grantedAt);
    });
    const isGone = ops.every((op) => this.#goneAt(op) + heardOfMs() < grantedAt);
    if (!isDead && !(isGone && this.#options.attentive)) return;
    const text = `${name}: granted (${fencingToken}) at ${ms(grantedAt)} to nobody: ${ops.map(describe).join('; ')}`;
    this.#violations.push({ rule: 'live client', text });
  }

  checkIdle({ wait, from, to, graceFrom }: Idle): void {
    const { prompt, still, wellFrom = Infinity } = this.#options;
    const since = prompt ? from : Math.max(from, wellFrom);
    if (to - since <= (still ? GRANTED_MS : this.#resumedMs)) return;
    const op = this.#waiting(wait, since, to);
    const isInGrace = to - Math.max(since, graceFrom) <= LIMITS.reattachMs + this.#resumedMs;
    if (op === undefined && isInGrace) return;
    const who = op === undefined ? `place ${wait.number}, whose client is gone` : describe(op);
    const text = `${wait.name}: could have been granted from ${ms(from)} to ${ms(to)}: ${who}`;
    this.#violations.push({ rule: 'liveness', text });
  }

  checkAnswer(op: OpRecord): void {
    const { seen, sentAt, endedAt, wish, copies } = op;
    const { prompt, honestClocks, resumedMs } = this.#options;
    if (seen === undefined || copies > 0) return;
    const overAt = sentAt + wish.waitMs * CLOCK_SHARE;
    const isEarly = honestClocks && seen.code === 'wait_timeout' && endedAt < overAt;
    const isLate = prompt && endedAt > overAt + (resumedMs ?? 0) + LAST_WORD_MS;
    const isLost = prompt && seen.code === 'moving';
    if (isEarly || isLate || isLost || (seen.code === 'cancelled' && !this.#isAskedToEnd(op)))
      this.#violations.push({ rule: 'queue', text: `a wait of ${wish.waitMs} ms: ${describe(op)}` });
  }

  /** Its client took it back, or asked otherwise for the same claim: what comes later takes the place. */
  #isAskedToEnd(op: OpRecord): boolean {
    if (op.cancelledAt <= op.endedAt) return true;
    const others = this.#history.ops.filter(({ token, name }) => token === op.token && name === op.name);
    // Where owners change an earlier request may be taken up again behind it.
    return others.some(({ id, op: kind, wish, sentAt }) => {
      if (sentAt > op.endedAt) return false;
      return kind === 'release' || (wish.waitMs > 0 && (this.#options.still ? id > op.id : id !== op.id));
    });
  }

  checkKept(wait: Wait): void {
    const { prompt, wellFrom = Infinity } = this.#options;
    const { name, end, endedAt } = wait;
    if (end !== 'lost' || !(prompt || endedAt > wellFrom + this.#resumedMs)) return;
    const op = this.#waiting(wait, endedAt - this.#resumedMs, endedAt);
    // With its time its place is over, whether anybody stands there or not.
    if (op === undefined || op.sentAt + op.wish.waitMs * CLOCK_SHARE <= endedAt) return;
    const text = `${name}: lost its place at ${ms(endedAt)}: ${describe(op)}`;
    this.#violations.push({ rule: 'liveness', text });
  }

  get #resumedMs(): number {
    return this.#options.resumedMs ?? RESUMED_MS;
  }

  /** The request of somebody who stands there all that time and hears what it is told. */
  #waiting({ name, token }: Wait, from: number, to: number): OpRecord | undefined {
    const ops = this.#askedBefore(name, token, to);
    if (ops.some(({ copies, unheardAt }) => copies > 0 || unheardAt < to)) return undefined;
    return ops.find((op) => op.sentAt <= from && op.endedAt >= to && this.#goneAt(op) >= to);
  }

  #askedBefore(name: string, token: string, at: number): OpRecord[] {
    return (this.#asked.get(`${name} ${token}`) ?? []).filter(({ sentAt }) => sentAt <= at);
  }

  /** When its client no longer waited, or could no longer be told. */
  #goneAt({ wire, cancelledAt }: OpRecord): number {
    if (wire === 0) return -Infinity;
    return Math.min(cancelledAt, this.#history.closedAt.get(wire) ?? Infinity);
  }
}

function add<T>(map: Map<string, T[]>, key: string, value: T): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

function ms(at: number): string {
  return at.toFixed(1);
}
