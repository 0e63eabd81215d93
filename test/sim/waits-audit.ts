/**
 * Judges queues by what the stores applied and what clients did (DESIGN §9, 7):
 *
 *   durability   who was told of a place in the queue had it by then
 *   live client  nobody is granted a lock after waiting whose process was dead
 *                when the owner came to the slot, or, while nothing is held up,
 *                whose end the owner must have heard of
 *   liveness     when all is well nobody is left waiting whose lock is free, and
 *                nobody loses a place who still waits for it
 */
import { LIMITS } from '../../src/limits.ts';
import { describe } from './checker.ts';
import type { History, OpRecord, Violation } from './history.ts';
import type { Grant, Idle, Wait } from './journal-state.ts';
import { tokenHex } from './request.ts';
import type { AuditOptions } from './store-audit.ts';

/** How long a waiter's lock may be free: its process finds the new owner, and its attempt arrives. */
const RESUMED_MS = 1_200;
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
    const isDead = ops.every(({ wire }) => (killedAt.get(wire) ?? Infinity) < bySince);
    const isGone = ops.every((op) => this.#goneAt(op) + heardOfMs() < grantedAt);
    if (!isDead && !(isGone && this.#options.attentive)) return;
    const text = `${name}: granted (${fencingToken}) at ${ms(grantedAt)} to nobody: ${ops.map(describe).join('; ')}`;
    this.#violations.push({ rule: 'live client', text });
  }

  checkIdle({ wait, from, to }: Idle): void {
    const { prompt, wellFrom = Infinity } = this.#options;
    const since = prompt ? from : Math.max(from, wellFrom);
    if (to - since <= RESUMED_MS) return;
    const op = this.#waiting(wait, since, to);
    if (op === undefined) return;
    const text = `${wait.name}: could have been granted from ${ms(from)} to ${ms(to)}: ${describe(op)}`;
    this.#violations.push({ rule: 'liveness', text });
  }

  checkKept(wait: Wait): void {
    const { prompt, wellFrom = Infinity } = this.#options;
    const { name, end, endedAt } = wait;
    if (end !== 'lost' || !(prompt || endedAt > wellFrom + RESUMED_MS)) return;
    const op = this.#waiting(wait, endedAt - RESUMED_MS, endedAt);
    if (op === undefined) return;
    const text = `${name}: lost its place at ${ms(endedAt)}: ${describe(op)}`;
    this.#violations.push({ rule: 'liveness', text });
  }

  /** The request of somebody who stands there all that time and hears what it is told. */
  #waiting({ name, token }: Wait, from: number, to: number): OpRecord | undefined {
    const ops = this.#askedBefore(name, token, to);
    if (ops.some(({ copies, isUnheard }) => copies > 0 || isUnheard)) return undefined;
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
