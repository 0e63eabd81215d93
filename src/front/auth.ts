/**
 * Who asks, and what they may do. Without keys everybody may do everything in
 * the namespace `default`; with them each request brings a key, and a WebSocket
 * brings it once, with its handshake.
 *
 *   Identity: valid ─► revoked      its entry was changed or taken out of the
 *                                   file, or its time is over
 *
 * A socket keeps the identity it came with, so what a frame costs is one look
 * at `revoked`. Every op and every item of a batch is judged by itself.
 */
import { timingSafeEqual } from 'node:crypto';
import { hashOfKey, idOfKey, type KeyEntry, NO_HASH, type Right } from '../config/keys.ts';
import { Kind, KIND_MAX, type Op } from '../op.ts';
import { type Caller, CallerBytes, DEFAULT_NAMESPACE } from '../protocol/caller.ts';

const Bit = { lock: 1, read: 2, admin: 4 } as const;
const ALL = Bit.lock | Bit.read | Bit.admin;
/** What each right brings along: who may lock may look, and admins may do everything. */
const BITS: Readonly<Record<Right, number>> = { lock: Bit.lock | Bit.read, read: Bit.read, admin: ALL };

/** By kind: the right that a client's op needs; 0 = clients have no such op. */
const RIGHT_OF_KIND = new Uint8Array(KIND_MAX + 1);
/** By kind: 1 when its key is a lock's, whose name has to be allowed too. */
const HAS_NAME = new Uint8Array(KIND_MAX + 1);
for (const kind of [Kind.acquire, Kind.renew, Kind.release]) RIGHT_OF_KIND[kind] = Bit.lock;
for (const kind of [Kind.get, Kind.verify, Kind.watch]) RIGHT_OF_KIND[kind] = Bit.read;
RIGHT_OF_KIND[Kind.force] = Bit.admin;
for (const [kind, right] of RIGHT_OF_KIND.entries()) HAS_NAME[kind] = right === 0 ? 0 : 1;
for (const kind of [Kind.sessionOpen, Kind.sessionRenew, Kind.sessionEnd, Kind.sessionGet]) {
  RIGHT_OF_KIND[kind] = Bit.lock;
}

export const UNAUTHENTICATED = 'unauthenticated';

/** What a refusal says. */
export const KEY_NEEDED = 'A valid API key is needed: Authorization: Bearer <key>.';
export const NOT_ALLOWED = 'This API key has not the right to this, or not for this name.';
export const NOT_VALID_ANY_MORE = 'the API key is not valid any more';

const BEARER = /^bearer +([!-~]{1,128}) *$/i;
/** Bounds what is looked at of a header. */
const HEADER_CHARACTERS_MAX = 256;

/** What an identity is made of: an entry of the keys file, but for its secret. */
export type Grants = Pick<KeyEntry, 'principal' | 'namespace' | 'prefixes' | 'rights'>;

export class Identity implements Caller {
  readonly principal: string;
  readonly namespace: string;
  /** Both as they stand in ops. */
  readonly caller: CallerBytes;
  /** What names must begin with; undefined: all names. */
  readonly prefixes: readonly Uint8Array[] | undefined;
  /** The key is none any more: no request is taken from who still has this. */
  revoked = false;
  /** As given; `lock` and `admin` imply more. */
  private readonly rights: readonly Right[];
  private readonly bits: number;
  private readonly isUnlimited: boolean;

  constructor({ principal, namespace, prefixes, rights }: Grants) {
    this.principal = principal;
    this.namespace = namespace;
    this.caller = new CallerBytes({ namespace, principal });
    this.prefixes = prefixes?.map((prefix) => Buffer.from(prefix));
    this.rights = rights;
    this.bits = rights.reduce((bits, right) => bits | BITS[right], 0);
    this.isUnlimited = this.bits === ALL && prefixes === undefined;
  }

  /** Whether a client may send this op. On the path of every op. */
  permits(op: Op): boolean {
    if (this.isUnlimited) return true;
    const { kind, namespaceLength } = op;
    if (kind === Kind.cancel) return true;
    if ((RIGHT_OF_KIND[kind] & this.bits) === 0) return false;
    if (HAS_NAME[kind] === 0 || this.prefixes === undefined) return true;
    return this.inPrefixes(op.bytes, op.keyAt + namespaceLength, op.keyLength - namespaceLength);
  }

  /** Whether `right` is had for the lock of this name. */
  allows(right: Right, name: Uint8Array): boolean {
    if ((this.bits & Bit[right]) === 0) return false;
    return this.prefixes === undefined || this.inPrefixes(name, 0, name.length);
  }

  /** May look at what belongs to no lock: the cluster, and its figures. Who may only lock may not. */
  get mayInspect(): boolean {
    return this.rights.includes('read') || this.rights.includes('admin');
  }

  /** May look at locks, those of its prefixes. */
  get mayRead(): boolean {
    return (this.bits & Bit.read) !== 0;
  }

  private inPrefixes(bytes: Uint8Array, at: number, length: number): boolean {
    for (const prefix of this.prefixes!) if (startsWith(bytes, at, length, prefix)) return true;
    return false;
  }
}

function startsWith(bytes: Uint8Array, at: number, length: number, prefix: Uint8Array): boolean {
  if (length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (bytes[at + i] !== prefix[i]) return false;
  return true;
}

/** Of everybody, where there are no keys. */
export const OPEN = new Identity({
  principal: '',
  namespace: DEFAULT_NAMESPACE,
  prefixes: undefined,
  rights: ['admin'],
});

/** Of a request that nobody has looked at: may do nothing. */
export const NOBODY = new Identity({ principal: '', namespace: DEFAULT_NAMESPACE, prefixes: [], rights: [] });

/** What a reload did, in numbers of keys. */
export interface KeyChanges {
  readonly keys: number;
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

interface Known {
  readonly entry: KeyEntry;
  readonly identity: Identity;
}

export class Authenticator {
  /** undefined: there are no keys. */
  private known: ReadonlyMap<string, Known> | undefined;
  private readonly wallNow: () => number;

  /**
   * @param entries undefined: everybody may do everything
   * @param wallNow ms of the epoch: keys end at a date
   */
  constructor(entries: readonly KeyEntry[] | undefined, wallNow: () => number = Date.now) {
    this.wallNow = wallNow;
    if (entries !== undefined) this.replace(entries);
  }

  /** `header`: the Authorization header, '' = none. A hash and a comparison, about 2 µs. */
  authenticate(header: string): Identity | typeof UNAUTHENTICATED {
    if (this.known === undefined) return OPEN;
    if (header.length > HEADER_CHARACTERS_MAX) return UNAUTHENTICATED;
    const key = BEARER.exec(header)?.[1];
    const id = key === undefined ? undefined : idOfKey(key);
    if (key === undefined || id === undefined) return UNAUTHENTICATED;
    const known = this.known.get(id);
    const isRight = timingSafeEqual(hashOfKey(key), known?.entry.hash ?? NO_HASH);
    if (known === undefined || !isRight || known.identity.revoked) return UNAUTHENTICATED;
    return known.entry.expiresAt > this.wallNow() ? known.identity : UNAUTHENTICATED;
  }

  /** From now on these are the keys. Who has one that is gone or was changed in any way has to come again. */
  replace(entries: readonly KeyEntry[]): KeyChanges {
    const before = this.known;
    const known = new Map<string, Known>();
    let added = 0;
    let changed = 0;
    for (const entry of entries) {
      const earlier = before?.get(entry.id);
      const isSame = earlier !== undefined && sameGrants(earlier.entry, entry);
      known.set(entry.id, isSame ? { ...earlier, entry } : { entry, identity: new Identity(entry) });
      if (earlier === undefined) added++;
      else if (!isSame) changed++;
    }
    let removed = 0;
    for (const [id, { identity }] of before ?? []) {
      const now = known.get(id);
      if (now === undefined) removed++;
      if (now?.identity !== identity) identity.revoked = true;
    }
    this.known = known;
    return { keys: known.size, added, changed, removed };
  }

  /** Revokes whose time is over; true when there was one. */
  expire(): boolean {
    const now = this.wallNow();
    let some = false;
    for (const { entry, identity } of this.known?.values() ?? []) {
      if (identity.revoked || entry.expiresAt > now) continue;
      identity.revoked = true;
      some = true;
    }
    return some;
  }
}

/** Nothing is different but what is there for people. */
function sameGrants(a: KeyEntry, b: KeyEntry): boolean {
  const grants = ({ hash, principal, namespace, prefixes, rights, expiresAt }: KeyEntry): string =>
    JSON.stringify([Buffer.from(hash).toString('hex'), principal, namespace, prefixes, rights, expiresAt]);
  return grants(a) === grants(b);
}
