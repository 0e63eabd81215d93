/**
 * Per-lock linearizability: is there one order of a lock's ops, in keeping with
 * real time, in which every answer is right? Wing and Gong's search with
 * memory of visited states, cut down by what a lock is:
 *
 *   an op that leaves the state as it is and fits it is taken at once: no
 *   order is lost by that; so only ops that change the state branch
 *
 * Ops without an answer may have taken effect at any time after they were sent,
 * or never. Ops of one connection take effect in the order in which they were
 * sent, those without an answer included. A claim's end by time is an op of nobody, possible from the moment
 * at which the last promise made for it is over.
 */
import type { Claim, OpRecord } from './history.ts';

interface Step {
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

/** The lock, as any client knows it: a holder, tokens that are used up, the highest fencing token given. */
interface State {
  readonly holder: string;
  readonly ended: ReadonlySet<string>;
  readonly fence: number;
}

export type LinearizeResult = 'ok' | 'violated' | 'undecided';

/** Search nodes before the search gives up: a run of the simulation needs some thousands. */
const NODES_MAX = 300_000;

/** `ops` and `claims` of one lock. `blame` gets the ops among which the search was stuck for good. */
export function linearize(
  ops: readonly OpRecord[],
  claims: readonly Claim[],
  blame?: (text: string) => void,
): LinearizeResult {
  return new Search(stepsOf(ops, claims), claims).run(blame);
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
  return op.seen === undefined && (op.op === 'acquire' || op.op === 'release');
}

/**
 * The tokens of which some answer says that they were granted. What explains all
 * answers with any other grant does so without it: nobody saw it.
 */
function grantedTokens(ops: readonly OpRecord[], claims: readonly Claim[]): Set<string> {
  const tokens = new Set<string>();
  const byOwner = new Map(claims.map(({ owner, token }) => [owner, token]));
  for (const { token, fencingToken } of claims) if (fencingToken > 0) tokens.add(token);
  for (const { op, token, seen } of ops) {
    if (seen === undefined) continue;
    const { status, yes, holder } = seen;
    const sawGrant = op === 'verify' ? yes : status < 300 || (op === 'acquire' && status === 410);
    if (token !== '' && sawGrant) tokens.add(token);
    const holding = holder === undefined ? undefined : byOwner.get(holder.owner);
    if (holding !== undefined) tokens.add(holding);
    // Held by anybody.
    else if (status === 409 || (op === 'get' && yes)) for (const claim of claims) tokens.add(claim.token);
  }
  return tokens;
}

function stepsOf(ops: readonly OpRecord[], claims: readonly Claim[]): Step[] {
  const steps: Step[] = [];
  const granted = grantedTokens(ops, claims);
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
    if (isAnswered(op)) add(id, kind, sent, until, { record: op, after });
    if (!granted.has(token)) continue;
    // Whatever else of it is on the wire.
    if (op.copies > 0 && (kind === 'acquire' || kind === 'release')) add(-id, kind, sent, Infinity);
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
      if (!isMaybe(at) || !granted.has(at.token)) continue;
      if (isAnswered(op)) orders.get(at.id)!.before.push(op.id);
      else if (isMaybe(op) && granted.has(op.token)) orders.get(at.id)!.before.push(-op.id);
    }
  }
  return orders;
}

class Search {
  readonly #steps: readonly Step[];
  readonly #fenceOf = new Map<string, number>();
  readonly #ownerOf = new Map<string, string>();
  /** Fencing tokens that answers told, each under the one before: those claims were granted, and in this order. */
  readonly #nextFence = new Map<number, number>();
  readonly #done: Uint8Array;
  /** Where the step of an id stands. */
  readonly #places = new Map<number, number>();
  /** By place: the maybes that can't be any more once the step is done. */
  readonly #kills: readonly number[][];
  /** By token: where its acquires stand. */
  readonly #acquires = new Map<string, number[]>();
  readonly #seen = new Set<string>();
  #nodes = 0;
  #farthest = -1;
  #stuck = (): string => '';
  /** No step behind it was ever done. */
  #lastDone = -1;

  constructor(steps: readonly Step[], claims: readonly Claim[]) {
    this.#steps = steps;
    this.#done = new Uint8Array(steps.length);
    for (const claim of claims) {
      this.#fenceOf.set(claim.token, claim.fencingToken);
      this.#ownerOf.set(claim.token, claim.owner);
    }
    let last = 0;
    for (const fence of [...new Set(this.#fenceOf.values())].sort((a, b) => a - b)) {
      if (fence > 0) this.#nextFence.set(last, fence);
      last = fence;
    }
    for (const [i, { id, kind, token }] of steps.entries()) {
      if (id !== 0) this.#places.set(id, i);
      if (kind !== 'acquire') continue;
      const acquires = this.#acquires.get(token);
      if (acquires === undefined) this.#acquires.set(token, [i]);
      else acquires.push(i);
    }
    this.#kills = steps.map(() => []);
    for (const [i, { before }] of steps.entries())
      for (const id of before) this.#kills[this.#places.get(id)!].push(i);
  }

  run(blame?: (text: string) => void): LinearizeResult {
    const found = this.#explore({ holder: '', ended: new Set(), fence: 0 }, 0, 0);
    if (found) return 'ok';
    if (this.#nodes >= NODES_MAX) return 'undecided';
    blame?.(this.#stuck());
    return 'violated';
  }

  /** Everything before `first` is done; `count` steps with an answer are. */
  #explore(state: State, first: number, count: number): boolean {
    if (++this.#nodes >= NODES_MAX) return false;
    const taken: number[] = [];
    let at = first;
    for (;;) {
      while (at < this.#steps.length && this.#isOver(at, state)) at++;
      const next = this.#quietAmong(at, state);
      if (next === -1) break;
      this.#do(next);
      taken.push(next);
    }
    const ok = this.#finish(state, at, count + taken.length);
    if (!ok) for (const i of taken) this.#done[i] = 0;
    return ok;
  }

  #finish(state: State, first: number, count: number): boolean {
    const candidates = this.#candidates(first, state);
    if (!candidates.some((i) => this.#steps[i].record !== undefined) && this.#allAnswered(first)) return true;
    const key = `${state.holder}|${first}|${this.#pattern(first, state)}`;
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    if (count > this.#farthest) {
      this.#farthest = count;
      this.#stuck = () => this.#describe(state, candidates);
    }
    for (const i of this.#likeliestFirst(candidates)) {
      const after = this.#isQuiet(this.#steps[i], state) ? state : this.#change(this.#steps[i], state);
      if (after === undefined) continue;
      this.#do(i);
      if (this.#explore(after, first, count + (this.#steps[i].record === undefined ? 0 : 1))) return true;
      this.#done[i] = 0;
      if (this.#nodes >= NODES_MAX) return false;
    }
    return false;
  }

  /** What was answered happened; a claim that somebody saw did, too. */
  #likeliestFirst(candidates: readonly number[]): number[] {
    const rank = (i: number) => {
      const { record, token } = this.#steps[i];
      if (record !== undefined) return 0;
      return (this.#fenceOf.get(token) ?? 0) > 0 ? 1 : 2;
    };
    return [...candidates].sort((a, b) => rank(a) - rank(b) || a - b);
  }

  #allAnswered(first: number): boolean {
    for (let i = first; i < this.#steps.length; i++) {
      if (this.#done[i] === 0 && this.#steps[i].record !== undefined) return false;
    }
    return true;
  }

  #do(place: number): void {
    this.#done[place] = 1;
    this.#lastDone = Math.max(this.#lastDone, place);
  }

  /** It is done, or nothing will ever come of it. */
  #isOver(place: number, { holder, ended }: State): boolean {
    if (this.#done[place] === 1) return true;
    const { record, kind, token } = this.#steps[place];
    if (record !== undefined) return false;
    if (ended.has(token) || this.#isKilled(place)) return true;
    if (kind === 'acquire' || holder === token) return false;
    const acquires = this.#acquires.get(token) ?? [];
    return acquires.every((i) => this.#done[i] === 1 || this.#isKilled(i));
  }

  #isKilled(place: number): boolean {
    return this.#steps[place].before.some((id) => this.#isDone(id));
  }

  /** Steps that may come next: sent before any other that is left had its answer. */
  #candidates(first: number, state: State): number[] {
    const steps = this.#steps;
    let bound = Infinity;
    const found: number[] = [];
    for (let i = first; i < steps.length && steps[i].from <= bound; i++) {
      if (this.#isOver(i, state)) continue;
      bound = Math.min(bound, steps[i].until);
      found.push(i);
    }
    return found.filter((i) => steps[i].from <= bound && this.#isInOrder(steps[i]));
  }

  /** The first candidate that can be taken at once; -1: none. */
  #quietAmong(first: number, state: State): number {
    const steps = this.#steps;
    let bound = Infinity;
    // No later step ends before this one begins: what is within the bound so far is within the last one.
    for (let i = first; i < steps.length && steps[i].from <= bound; i++) {
      if (this.#isOver(i, state)) continue;
      bound = Math.min(bound, steps[i].until);
      const step = steps[i];
      if (!this.#isInOrder(step) || !this.#isQuiet(step, state)) continue;
      if (!this.#isFatal(i, state)) return i;
    }
    return -1;
  }

  /** What its connection's order allows. */
  #isInOrder({ after }: Step): boolean {
    return after === 0 || this.#isDone(after);
  }

  /** It would end the chance of a maybe: whether that is right has to be tried. */
  #isFatal(place: number, state: State): boolean {
    return this.#kills[place].some((i) => !this.#isOver(i, state));
  }

  #isDone(id: number): boolean {
    return this.#done[this.#places.get(id)!] === 1;
  }

  /** True when the step changes nothing and its answer fits the state. */
  #isQuiet({ kind, token, fencingToken, record }: Step, { holder, ended }: State): boolean {
    if (record === undefined) return false;
    const seen = record.seen!;
    const fence = holder === '' ? 0 : (this.#fenceOf.get(holder) ?? 0);
    switch (kind) {
      case 'acquire':
        if (seen.status === 409)
          return holder !== '' && holder !== token && this.#isHolder(seen.holder, holder);
        if (seen.status === 410) return ended.has(token);
        return seen.status === 200 && holder === token && seen.fencingToken === fence;
      case 'renew':
        return seen.status === 410 ? holder !== token : holder === token && seen.fencingToken === fence;
      case 'release':
        return seen.status === 410 && holder !== token;
      case 'get':
        return seen.yes ? holder !== '' && this.#isHolder(seen.holder, holder) : holder === '';
      case 'verify': {
        const current = token === '' ? holder !== '' && fence === fencingToken : holder === token;
        return current === seen.yes;
      }
      case 'expire':
        return false;
    }
  }

  /** The state after a step that changes it; undefined when it can't be next. */
  #change({ kind, token, record }: Step, { holder, ended, fence }: State): State | undefined {
    if (kind === 'acquire') {
      if (holder !== '' || ended.has(token)) return undefined;
      if (record !== undefined && record.seen!.status !== 201) return undefined;
      const own = this.#fenceOf.get(token) ?? 0;
      if (own !== 0 && own !== this.#nextFence.get(fence)) return undefined;
      return { holder: token, ended, fence: Math.max(own, fence) };
    }
    if (kind !== 'release' && kind !== 'expire') return undefined;
    if (holder !== token || (record !== undefined && record.seen!.status === 410)) return undefined;
    return { holder: '', ended: new Set(ended).add(token), fence };
  }

  #isHolder(told: { owner: string; fencingToken: number } | undefined, holder: string): boolean {
    return (
      told === undefined ||
      (told.owner === this.#ownerOf.get(holder) && told.fencingToken === this.#fenceOf.get(holder))
    );
  }

  /** All that tells two searches apart which have come to the same holder. */
  #pattern(first: number, state: State): string {
    let text = '';
    for (let i = first; i <= this.#lastDone; i++) {
      const { kind, token } = this.#steps[i];
      if (this.#isOver(i, state)) text += '1';
      else text += kind === 'acquire' && state.ended.has(token) ? '2' : '0';
    }
    return text.replace(/0+$/, '');
  }

  #describe(state: State, candidates: readonly number[]): string {
    // Maybes of long ago explain nothing: what was answered, and what concerns the holder.
    const telling = candidates.filter((i) => {
      const { record, token } = this.#steps[i];
      return record !== undefined || token === state.holder;
    });
    const lines = telling.slice(0, 12).map((i) => {
      const { id, kind, token, from, until, record } = this.#steps[i];
      return `#${id} ${kind} ${token} [${from.toFixed(1)}, ${until.toFixed(1)}] ${JSON.stringify(record?.seen ?? 'maybe')}`;
    });
    const holder =
      state.holder === '' ? 'free' : `held by ${state.holder} (${this.#fenceOf.get(state.holder)})`;
    return `${holder}; next could be:\n    ${lines.join('\n    ')}`;
  }
}
