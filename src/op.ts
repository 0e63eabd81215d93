/**
 * The words that every part shares: kinds of operation, modes, and the op as
 * it lies in a batch.
 *
 * An `Op` is a cursor: one object moved over the records of a batch, so that
 * no object is made per op. `batch/record.ts` reads and writes the records.
 */

export const Kind = {
  acquire: 1,
  renew: 2,
  release: 3,
  get: 4,
  verify: 5,
  /** One page of a listing: answered by each lane for each of its shards. Not a public op. */
  list: 6,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

export const KIND_NAMES = ['', 'acquire', 'renew', 'release', 'get', 'verify', 'list'] as const;

export const Mode = { exclusive: 0, shared: 1, semaphore: 2 } as const;
export type Mode = (typeof Mode)[keyof typeof Mode];
export const MODE_NAMES = ['exclusive', 'shared', 'semaphore'] as const;

/** Flags of an op record. */
export const OpFlag = {
  /** The answer carries every field of the claim (JSON needs them), not only the new ones. */
  full: 1,
  /** The front made the lock token, so the answer must tell it. */
  madeToken: 2,
  /** Another process sent it here because this one owns the slot: it is not forwarded again. */
  forwarded: 4,
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
  /** Verify by fencing token; 0 = by lock token. List: the slot to start from. */
  fencingToken = 0;
}
