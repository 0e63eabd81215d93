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
 * sent, those without an answer included; waits do so when they are granted. A
 * claim's end by time is an op of nobody, possible from the moment at which the
 * last promise made for it is over.
 *
 * Queues are none of its business: where somebody may wait, a refusal tells
 * nothing but who holds the lock, if it says so.
 */
import type { Claim, OpRecord, Shown } from './history.ts';
import { type Step, stepsOf } from './linearize-steps.ts';

/** The lock, as any client knows it: who holds it, tokens that are used up, the highest fencing token given. */
interface State {
  /** By their tokens, the oldest first. */
  readonly holders: readonly string[];
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
  const waits = new Set(ops.filter(({ wish }) => wish.waitMs > 0).map(({ token }) => token));
  const isQueued = waits.size > 0 || ops.some(({ op, wish }) => op === 'force' || wish.lockDelayMs > 0);
  return new Search(stepsOf(ops, claims, isQueued), claims, isQueued, waits).run(blame);
}

class Search {
  readonly #steps: readonly Step[];
  readonly #fenceOf = new Map<string, number>();
  readonly #claimOf = new Map<string, Claim>();
  /** Somebody may wait for the lock, or nobody may have it for a while. */
  readonly #isQueued: boolean;
  /** Tokens that somebody waited with. */
  readonly #waits: ReadonlySet<string>;
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

  constructor(
    steps: readonly Step[],
    claims: readonly Claim[],
    isQueued: boolean,
    waits: ReadonlySet<string>,
  ) {
    this.#steps = steps;
    this.#isQueued = isQueued;
    this.#waits = waits;
    this.#done = new Uint8Array(steps.length);
    for (const claim of claims) {
      this.#fenceOf.set(claim.token, claim.fencingToken);
      this.#claimOf.set(claim.token, claim);
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
    const found = this.#explore({ holders: [], ended: new Set(), fence: 0 }, 0, 0);
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
    const key = `${state.holders.join()}|${first}|${this.#pattern(first, state)}`;
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
  #isOver(place: number, { holders, ended }: State): boolean {
    if (this.#done[place] === 1) return true;
    const { record, kind, token } = this.#steps[place];
    if (record !== undefined) return false;
    if (ended.has(token) || this.#isKilled(place)) return true;
    if (kind === 'acquire' || kind === 'force' || holders.includes(token)) return false;
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
  #isQuiet({ kind, token, fencingToken, record }: Step, { holders, ended }: State): boolean {
    if (record === undefined) return false;
    const seen = record.seen!;
    const isHolder = holders.includes(token);
    switch (kind) {
      case 'acquire':
        if (seen.status === 409) return this.#isRefusal(seen.holders, holders) && !isHolder;
        // Of a session: that is over, whatever became of the claim.
        if (seen.code === 'session_ended') return !isHolder;
        if (seen.status === 410) return ended.has(token);
        // Of two that wait with one token both may be told that they got it.
        if (seen.status === 201 && !this.#waits.has(token)) return false;
        return seen.status < 300 && isHolder && seen.fencingToken === this.#fenceOf.get(token);
      case 'renew':
        return seen.status === 410 ? !isHolder : isHolder && seen.fencingToken === this.#fenceOf.get(token);
      case 'release':
        return seen.status === 410 && !isHolder;
      case 'get':
        return seen.holders.length === holders.length && this.#areHolders(seen.holders, holders);
      case 'verify': {
        const current =
          token === '' ? holders.some((holder) => this.#fenceOf.get(holder) === fencingToken) : isHolder;
        return current === seen.yes;
      }
      case 'force':
        if (fencingToken > 0)
          return seen.status === 410 && !holders.some((holder) => this.#fenceOf.get(holder) === fencingToken);
        return seen.released === 0 && holders.length === 0;
      case 'expire':
        return false;
    }
  }

  /** The state after a step that changes it; undefined when it can't be next. */
  #change({ kind, token, fencingToken, record }: Step, state: State): State | undefined {
    const { holders, ended, fence } = state;
    const seen = record?.seen;
    if (kind === 'acquire') {
      if (ended.has(token) || holders.includes(token) || !this.#isBeside(token, holders)) return undefined;
      if (seen !== undefined && seen.status !== 201) return undefined;
      const own = this.#fenceOf.get(token) ?? 0;
      if (own !== 0 && own !== this.#nextFence.get(fence)) return undefined;
      return { holders: [...holders, token], ended, fence: Math.max(own, fence) };
    }
    if (kind === 'force') {
      const meant = holders.filter(
        (holder) => fencingToken === 0 || this.#fenceOf.get(holder) === fencingToken,
      );
      if (seen === undefined ? meant.length === 0 : seen.released < meant.length) return undefined;
      // It may have ended claims that nobody ever heard of; those can't be told by their fencing tokens.
      if (meant.length === 0) return fencingToken > 0 || seen!.released === 0 ? undefined : state;
      return {
        holders: holders.filter((one) => !meant.includes(one)),
        ended: including(ended, meant),
        fence,
      };
    }
    if ((kind !== 'release' && kind !== 'expire') || seen?.status === 410) return undefined;
    if (holders.includes(token))
      return { holders: holders.filter((one) => one !== token), ended: including(ended, [token]), fence };
    // Somebody who waits takes that back.
    if (kind !== 'release' || !this.#waits.has(token) || ended.has(token)) return undefined;
    return { holders, ended: including(ended, [token]), fence };
  }

  /** The claim with this token may hold the lock together with these. */
  #isBeside(token: string, holders: readonly string[]): boolean {
    if (holders.length === 0) return true;
    const { mode, limit } = this.#claimOf.get(token)!;
    const other = this.#claimOf.get(holders[0])!;
    if (mode === 'semaphore') return other.mode === mode && other.limit === limit && holders.length < limit;
    return mode === 'shared' && other.mode === 'shared';
  }

  /** A refusal shows the oldest holder. Where nobody waits there must be one. */
  #isRefusal(shown: readonly Shown[], holders: readonly string[]): boolean {
    return this.#areHolders(shown, holders) && (this.#isQueued || holders.length > 0);
  }

  /** Those that were shown are the oldest. */
  #areHolders(shown: readonly Shown[], holders: readonly string[]): boolean {
    return shown.every(({ owner, fencingToken }, i) => {
      const claim = this.#claimOf.get(holders[i] ?? '');
      return claim !== undefined && owner === claim.owner && fencingToken === claim.fencingToken;
    });
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
      return record !== undefined || state.holders.includes(token);
    });
    const lines = telling.slice(0, 12).map((i) => {
      const { id, kind, token, from, until, record } = this.#steps[i];
      return `#${id} ${kind} ${token} [${from.toFixed(1)}, ${until.toFixed(1)}] ${JSON.stringify(record?.seen ?? 'maybe')}`;
    });
    const held = state.holders.map((holder) => `${holder} (${this.#fenceOf.get(holder)})`).join(', ');
    return `${held === '' ? 'free' : `held by ${held}`}; next could be:\n    ${lines.join('\n    ')}`;
  }
}

function including(tokens: ReadonlySet<string>, more: readonly string[]): ReadonlySet<string> {
  return new Set([...tokens, ...more]);
}
