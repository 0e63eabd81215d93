/**
 * What a slot has to do, written down a second time and as plainly as possible:
 * the model that the machine is held against. Nothing of src/lock is used here.
 */
import { hashOf, type OpWords, tokenBytes } from './op-words.ts';
import type { Said } from './slot-rig.ts';
import type { ClaimWords } from './slot-state.ts';

interface Held {
  fencingToken: number;
  token: string;
  ttlMs: number;
  owner: string;
  metadata: string;
  promisedUntil: number;
  freeAt: number;
  /** Grants and renewals that have not come back. */
  away: number;
}

interface Answer {
  readonly name: string;
  readonly fencingToken: number;
  readonly ttlMs: number;
}

export class ReferenceSlot {
  counter = 0;
  now = 1_000;
  readonly held = new Map<string, Held>();
  /** Name's hash and token → when it ended, in whole ms. */
  private readonly ended = new Map<string, number>();
  private open: Answer[] = [];
  private flight: Answer[] | undefined;
  private sentAt = 0;
  private readonly keepMs: number;

  constructor(keepMs: number) {
    this.keepMs = keepMs;
  }

  run(op: OpWords): Said {
    const before = this.counter;
    const found = this.held.get(op.name);
    if (found !== undefined && found.freeAt <= this.now) this.end(op.name);
    const claim = this.held.get(op.name);
    const mine = claim !== undefined && op.token !== undefined && claim.token === op.token;
    const said = this.decide(op, claim, mine);
    return { ...said, changed: this.counter > before };
  }

  private decide(op: OpWords, claim: Held | undefined, mine: boolean): Omit<Said, 'changed'> {
    switch (op.kind) {
      case 'acquire':
        if (mine) return say(200, claim);
        if (this.remembers(op.name, op.token!)) return say(410, undefined, 'not_held');
        if (claim !== undefined) return say(409, claim, 'lock_held');
        return this.grant(op);
      case 'renew':
        return mine ? this.renew(op, claim!) : say(410, undefined, 'not_held');
      case 'release':
        if (!mine) return say(410, undefined, 'not_held');
        this.end(op.name);
        return say(204, undefined);
      case 'get':
        return say(200, claim);
      default: {
        const current = op.fencingToken !== undefined ? claim?.fencingToken === op.fencingToken : mine;
        return { ...say(200, current ? claim : undefined), current };
      }
    }
  }

  private grant(op: OpWords): Omit<Said, 'changed'> {
    this.counter++;
    const claim: Held = {
      fencingToken: this.counter,
      token: op.token!,
      ttlMs: op.ttlMs ?? 30_000,
      owner: op.owner ?? '',
      metadata: op.metadata ?? '',
      promisedUntil: 0,
      freeAt: Infinity,
      away: 1,
    };
    this.held.set(op.name, claim);
    this.open.push({ name: op.name, fencingToken: claim.fencingToken, ttlMs: claim.ttlMs });
    return { ...say(201, claim), armable: true };
  }

  private renew(op: OpWords, claim: Held): Omit<Said, 'changed'> {
    const ttlMs = op.ttlMs ?? claim.ttlMs;
    if (ttlMs !== claim.ttlMs || op.metadata) this.counter++;
    claim.ttlMs = ttlMs;
    if (op.metadata) claim.metadata = op.metadata;
    claim.freeAt = Infinity;
    claim.away++;
    this.open.push({ name: op.name, fencingToken: claim.fencingToken, ttlMs });
    return { ...say(200, claim), armable: true };
  }

  send(): void {
    if (this.flight !== undefined) return;
    this.flight = this.open;
    this.open = [];
    this.sentAt = this.now;
  }

  land(): void {
    for (const { name, fencingToken, ttlMs } of this.flight ?? []) {
      const claim = this.held.get(name);
      if (claim?.fencingToken !== fencingToken) continue;
      claim.promisedUntil = this.sentAt + ttlMs;
      if (--claim.away === 0) claim.freeAt = this.now + ttlMs + ttlMs / 2_000 + 10;
    }
    this.flight = undefined;
  }

  expireAll(): void {
    for (const [name, claim] of this.held) {
      if (claim.freeAt <= this.now) this.end(name);
    }
  }

  remembers(name: string, token: string): boolean {
    const at = this.ended.get(`${hashOf(name)} ${token}`);
    return at !== undefined && this.now - at < this.keepMs;
  }

  claims(): Map<string, ClaimWords> {
    const claims = new Map<string, ClaimWords>();
    for (const [name, { away: _away, token, ...rest }] of this.held) {
      claims.set(name, { ...rest, token: Buffer.from(tokenBytes(token)).toString('latin1') });
    }
    return claims;
  }

  private end(name: string): void {
    this.counter++;
    this.ended.set(`${hashOf(name)} ${this.held.get(name)!.token}`, Math.ceil(this.now));
    this.held.delete(name);
  }
}

function say(status: number, claim: Held | undefined, code = ''): Omit<Said, 'changed'> {
  const fencingToken = claim?.fencingToken ?? 0;
  return { status, code, fencingToken, ttlMs: claim?.ttlMs ?? 0, armable: false, current: false };
}
