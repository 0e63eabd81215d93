/**
 * What a search for a linear order (linearize.ts) chooses from: the steps that
 * ops with an answer are, those that ops without one may be, and the end of
 * each claim by time.
 */
import type { Claim, OpRecord } from './history.ts';

export interface Step {
  readonly id: number;
  readonly kind: OpRecord['op'] | 'expire';
  readonly token: string;
  readonly fencingToken: number;
  readonly from: number;
  readonly until: number;
  /** undefined: it may take effect or not. */
  readonly record: OpRecord | undefined;
  /** An op with an answer that takes effect before it, 0 = none. */
  readonly after: number;
  /** The same of maybes: once one of these is done, it can't be any more. */
  readonly before: readonly number[];
}

/** Refusals promise that nothing happened: nothing to order. */
function isRefused({ seen }: OpRecord): boolean {
  return seen !== undefined && (seen.status >= 500 || seen.status === 429);
}

function isAnswered(op: OpRecord): boolean {
  return op.seen !== undefined && !isRefused(op);
}

/** Only grants and releases change anything. */
function isMaybe(op: OpRecord): boolean {
  return op.seen === undefined && mayChange(op);
}

function mayChange({ op }: OpRecord): boolean {
  return op === 'acquire' || op === 'release' || op === 'force';
}

/**
 * The tokens of which some answer says that they were granted. What explains all
 * answers with any other grant does so without it: nobody saw it.
 */
function grantedTokens(ops: readonly OpRecord[], claims: readonly Claim[], isQueued: boolean): Set<string> {
  const tokens = new Set<string>();
  const byOwner = new Map(claims.map(({ owner, token }) => [owner, token]));
  for (const { token, fencingToken } of claims) if (fencingToken > 0) tokens.add(token);
  for (const { op, token, seen } of ops) {
    if (seen === undefined) continue;
    const { status, code, yes, holders } = seen;
    const sawEnd = op === 'acquire' && code === 'not_held';
    const sawGrant = op === 'verify' ? yes : status < 300 || sawEnd;
    if (token !== '' && sawGrant) tokens.add(token);
    for (const { owner } of holders) tokens.add(byOwner.get(owner) ?? '');
    // Held by anybody.
    if (status === 409 && holders.length === 0 && !isQueued)
      for (const claim of claims) tokens.add(claim.token);
  }
  return tokens;
}

/** Requests that were withdrawn while another one asked for the same claim: their answers say nothing of that. */
function withdrawnOf(ops: readonly OpRecord[]): Set<OpRecord> {
  const acquires = new Map<string, number>();
  for (const { op, token } of ops) if (op === 'acquire') acquires.set(token, (acquires.get(token) ?? 0) + 1);
  return new Set(ops.filter(({ seen, token }) => seen?.code === 'cancelled' && acquires.get(token)! > 1));
}

export function stepsOf(ops: readonly OpRecord[], claims: readonly Claim[], isQueued: boolean): Step[] {
  const steps: Step[] = [];
  const withdrawn = withdrawnOf(ops);
  const granted = grantedTokens(ops, claims, isQueued);
  const orders = ordersOf(ops, granted);
  const add = (id: number, kind: Step['kind'], of: Sent, until: number, more: Partial<Step> = {}): void => {
    const { token, fencingToken, from } = of;
    const { record, after = 0, before = NONE } = more;
    steps.push({ id, kind, token, fencingToken, from, until, record, after, before });
  };
  for (const op of ops) {
    const { id, op: kind, token, fencingToken, sentAt: from, endedAt: until } = op;
    const { after, before } = orders.get(id)!;
    const sent = { token, fencingToken, from };
    if (isAnswered(op) && !withdrawn.has(op)) add(id, kind, sent, until, { record: op, after });
    if (kind !== 'force' && !granted.has(token)) continue;
    // Whatever else of it is on the wire; and who waits, or has a session, may hear of a claim when it has ended.
    const hadEnded = op.seen?.status === 410 && (op.wish.waitMs > 0 || op.wish.session !== '');
    if ((op.copies > 0 || hadEnded) && mayChange(op)) add(-id, kind, sent, Infinity);
    else if (isMaybe(op)) add(-id, kind, sent, Infinity, { after, before });
  }
  for (const { token, ownedUntilAtLeast: from } of claims)
    if (granted.has(token)) add(0, 'expire', { token, fencingToken: 0, from }, Infinity);
  return steps.sort((a, b) => a.from - b.from);
}

type Sent = Pick<Step, 'token' | 'fencingToken' | 'from'>;

const NONE: readonly number[] = [];

interface Order {
  /** The op with an answer that comes before. */
  after: number;
  /** Steps behind a maybe, up to the next op with an answer. */
  readonly before: number[];
}

/** By op: what the order of its connection says. */
function ordersOf(ops: readonly OpRecord[], granted: ReadonlySet<string>): Map<number, Order> {
  const byId = new Map(ops.map((op) => [op.id, op]));
  const orders = new Map<number, Order>();
  for (const op of ops) {
    const order: Order = { after: 0, before: [] };
    orders.set(op.id, order);
    for (let at = byId.get(op.after); at !== undefined; at = byId.get(at.after)) {
      if (isAnswered(at)) {
        order.after = at.id;
        break;
      }
      if (!isMaybe(at) || (at.op !== 'force' && !granted.has(at.token))) continue;
      if (isAnswered(op)) orders.get(at.id)!.before.push(op.id);
      else if (isMaybe(op) && (op.op === 'force' || granted.has(op.token)))
        orders.get(at.id)!.before.push(-op.id);
    }
  }
  return orders;
}
