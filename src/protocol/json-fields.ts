/**
 * Which fields a JSON request may have, by op and by where it stands.
 */
import { Kind } from '../op.ts';

export const NOT_YET = 'not supported by this version yet';

export type Fields = Readonly<Record<string, unknown>>;

/** Where the fields of an op stand. */
export const Place = {
  /** A body of HTTP: name, id and token come from path and headers. */
  body: 0,
  /** An item of a batch. */
  item: 1,
  /** A request of a WebSocket. */
  socket: 2,
} as const;
export type Place = (typeof Place)[keyof typeof Place];

/** The ops of a batch. */
export const JSON_OPS: ReadonlyMap<string, number> = new Map([
  ['acquire', Kind.acquire],
  ['renew', Kind.renew],
  ['release', Kind.release],
  ['get', Kind.get],
  ['verify', Kind.verify],
]);

/** The ops of a WebSocket that become an Op; `ping` and `cancel` are the socket's own. */
export const SOCKET_OPS: ReadonlyMap<string, number> = new Map([
  ...JSON_OPS,
  ['watch', Kind.watch],
  // Names a lock; which watch of the socket it ends is for the socket to find.
  ['unwatch', Kind.cancel],
  ['session.open', Kind.sessionOpen],
  ['session.keepalive', Kind.sessionRenew],
  ['session.end', Kind.sessionEnd],
]);

const A = 1 << Kind.acquire;
const R = 1 << Kind.renew;
const L = 1 << Kind.release;
const G = 1 << Kind.get;
const V = 1 << Kind.verify;
const W = (1 << Kind.watch) | (1 << Kind.cancel);
const O = 1 << Kind.sessionOpen;
const S = (1 << Kind.sessionRenew) | (1 << Kind.sessionEnd);

/** Fields by the ops that have them. */
const BODY: Readonly<Record<string, number>> = {
  ttlMs: A | R | O,
  metadata: A | R,
  owner: A | O,
  mode: A,
  limit: A,
  waitMs: A,
  sessionId: A | O,
  lockDelayMs: A,
  lockToken: A | V,
  fencingToken: V,
};
const SOCKET: Readonly<Record<string, number>> = {
  ...BODY,
  name: A | R | L | G | V | W,
  lockToken: A | R | L | V,
  sessionId: A | O | S,
  idempotencyKey: A,
  consistency: G,
};
const { waitMs: _, ...ITEM } = SOCKET;
const BY_PLACE = [BODY, ITEM, SOCKET] as const;

/** '' when an op of `kind` may have `field` there, else why it may not. */
export function fieldRefusal(kind: number, place: Place, field: string): string {
  const fields = BY_PLACE[place];
  if (Object.hasOwn(fields, field) && (fields[field] & (1 << kind)) !== 0) return '';
  if (place === Place.item && field === 'waitMs' && kind === Kind.acquire)
    return 'an op of a batch does not wait';
  return 'unknown field';
}
