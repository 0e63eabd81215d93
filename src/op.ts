/**
 * The words that every part shares: kinds of operation, modes, and the op as
 * it lies in a batch.
 *
 * An `Op` is a cursor: one object moved over the records of a batch, so that
 * no object is made per op. `lane/record.ts` reads and writes the records.
 */

export const Kind = {
  acquire: 1,
  renew: 2,
  release: 3,
  get: 4,
  verify: 5,
  /** One page of a listing: answered by each lane for each of its shards. Not a public op. */
  list: 6,
  /** Ends a wait or a watch: the one of the same `connection` and `attempt`. */
  cancel: 8,
  watch: 9,
  /** A forced release: of the claim `fencingToken`, 0 = of all holders. The reason is in `metadata`. */
  force: 10,

  // ---- at the session's own slot (key: SESSION_KEY and the session's id)
  sessionOpen: 11,
  /** Extends the session itself; the answer names the slots that have to be extended as well. */
  sessionRenew: 12,
  sessionEnd: 13,
  sessionGet: 14,
  /** The slot `fencingToken` is about to get locks of the session. Not public. */
  sessionJoin: 15,
  /** It has some: from now on the session ends when that slot's stub is missing. Not public. */
  sessionActivate: 16,

  // ---- at a slot with locks of a session or of an atomic batch. Not public
  stubRenew: 17,
  /** Ends the stub and every claim that hangs on it. */
  stubEnd: 18,
  /** The claims of an atomic batch, `fencingToken` many, become real in one step. */
  confirm: 19,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** Answered by the front alone; between the kinds of list and cancel. */
export const PING = 7;
export const KIND_MAX = Kind.confirm;

/** By kind: the name that metrics and logs use. */
export const KIND_NAMES = [
  '',
  'acquire',
  'renew',
  'release',
  'get',
  'verify',
  'list',
  'ping',
  'cancel',
  'watch',
  'force',
  'session.open',
  'session.keepalive',
  'session.end',
  'session.get',
  'session.join',
  'session.activate',
  'stub.renew',
  'stub.end',
  'confirm',
] as const;

export const Mode = { exclusive: 0, shared: 1, semaphore: 2 } as const;
export type Mode = (typeof Mode)[keyof typeof Mode];
export const MODE_NAMES = ['exclusive', 'shared', 'semaphore'] as const;

/**
 * First byte of the name part of keys that are no locks: names of locks have no
 * control characters. Behind it stands the id in its stored form.
 */
export const SESSION_KEY = 0x01;
/** What a slot knows of a session that has locks in it. */
export const STUB_KEY = 0x02;
/** What a slot knows of an atomic batch that has claims in it. */
export const BATCH_KEY = 0x03;

/** Flags of an op record. */
export const OpFlag = {
  /** The answer carries every field of the claim (JSON needs them), not only the new ones. */
  full: 1,
  /** The front made the lock token, so the answer must tell it. */
  madeToken: 2,
  /** Another process sent it here because this one owns the slot: it is not forwarded again. */
  forwarded: 4,
  /** The token stands for an Idempotency-Key: its end is remembered for LIMITS.idempotencyWindowMs. */
  keyed: 8,
  /** A wait or watch that an earlier owner of the slot had taken: it is taken up again, in its old place. */
  resumed: 16,
  /** The socket `origin` wants to hear when the claim is lost or contended. */
  events: 32,
  /** The session has no locks in this slot yet: a stub may be made. Without it a missing stub is the session's end. */
  newStub: 64,
} as const;

const EMPTY = new Uint8Array(0);

/** What a claim keeps beside name and token is empty where a length is 0. */
export class Op {
  /** The batch's bytes; every `…At` is an offset into them. */
  bytes: Uint8Array = EMPTY;
  kind = 0;
  flags = 0;
  /** The requester's id for this op, unique among the open ones of its connection. */
  id = 0;
  /** The front's number for the connection that the answer goes to. */
  connection = 0;
  /** Monotonic ms at which the request had been read. Earlier than that would promise too much. */
  receivedAt = 0;
  slot = 0;
  /** Keyed hash of the whole key (namespace and name), 32 bits, unsigned. */
  hash = 0;
  /** The key: the name, behind `namespace \0` when the namespace is not `default`. */
  keyAt = 0;
  keyLength = 0;
  /** Bytes of the key in front of the name. Only until the op is routed: no record carries it. */
  namespaceLength = 0;
  /** Acquire, renew: 0 = the default (acquire: 30 s, renew: the claim's own). */
  ttlMs = 0;
  /** 16 bytes (a UUID) or 22–64 characters; length 0 where verify names a fencing token. */
  tokenAt = 0;
  tokenLength = 0;
  ownerAt = 0;
  ownerLength = 0;
  /** JSON text of an object; renew with length 0 leaves the claim's as it is. */
  metadataAt = 0;
  metadataLength = 0;
  /** Verify, force: 0 = by lock token, all holders. List: the slot to start from. Else as the kinds say. */
  fencingToken = 0;

  // ---- what most ops do not have: 0 and empty
  mode = 0;
  /** Of a semaphore, else 0. */
  limit = 0;
  /** Acquire: 0 = a try. */
  waitMs = 0;
  lockDelayMs = 0;
  /** The socket that events of the claim go to, by the number that its own front gave it. */
  origin = 0;
  /** Tells waits and watches apart: with `connection` the identity of an attachment. Never 0 there. */
  attempt = 0;
  /** In the stored form of a token. */
  sessionAt = 0;
  sessionLength = 0;
  /** Who asks; empty without keys. */
  principalAt = 0;
  principalLength = 0;
  /** The atomic batch that the claim is part of: 16 bytes, or none. */
  batchAt = 0;
  batchLength = 0;

  /** It has nothing of what most ops do not have. */
  get isPlain(): boolean {
    return (
      (this.mode |
        this.limit |
        this.waitMs |
        this.lockDelayMs |
        this.origin |
        this.attempt |
        this.sessionLength |
        this.principalLength |
        this.batchLength) ===
      0
    );
  }

  /** It waits or watches: it may get answers before its last one, and that one at any time. */
  get isStanding(): boolean {
    return this.kind === Kind.watch || (this.kind === Kind.acquire && this.waitMs > 0);
  }

  /** Makes it an op of no kind, without texts and flags. */
  clear(): void {
    this.makePlain();
    this.kind = 0;
    this.flags = 0;
    this.ttlMs = 0;
    this.fencingToken = 0;
    this.keyLength = 0;
    this.tokenLength = 0;
    this.ownerLength = 0;
    this.metadataLength = 0;
  }

  /** Takes away what most ops do not have. */
  makePlain(): void {
    this.namespaceLength = 0;
    this.mode = 0;
    this.limit = 0;
    this.waitMs = 0;
    this.lockDelayMs = 0;
    this.origin = 0;
    this.attempt = 0;
    this.sessionLength = 0;
    this.principalLength = 0;
    this.batchLength = 0;
  }
}
