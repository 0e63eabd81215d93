/**
 * What of a listing its caller gets: locks of the caller's namespace whose names
 * begin with what was asked for, and with one of the key's prefixes.
 *
 * Lanes list by one prefix, so they are asked for the longest that covers all
 * of it and the rest is left out here. What is left out may not show through
 * the cursor either: where a page stopped at such a name, the list goes on from
 * where the next one may be that is seen.
 */
import type { Identity } from './auth.ts';

/** In the order of a listing: by slot, then by the bytes of the key. */
export interface Position {
  readonly slot: number;
  /** The key behind which the rest begins; empty: at the slot's first. */
  readonly key: Buffer;
}

/** More than any byte of UTF-8. */
const BEHIND_ALL = 0xff;

export class ListScope {
  /** What lanes are asked for: with the namespace in front. */
  readonly keyPrefix: Buffer;
  private readonly namespaceLength: number;
  /** Sorted, none within another: what keys must begin with; undefined: `keyPrefix` is enough. */
  private readonly within: readonly Buffer[] | undefined;

  /** undefined: the caller may see nothing of it. */
  static of(identity: Identity, prefix: Buffer): ListScope | undefined {
    if (!identity.mayRead) return undefined;
    const whole = [prefix];
    const within =
      identity.prefixes === undefined || identity.prefixes.some((one) => startsWith(prefix, one))
        ? whole
        : identity.prefixes.filter((one) => startsWith(one, prefix));
    return within.length === 0 ? undefined : new ListScope(identity.caller.prefix, within);
  }

  private constructor(namespace: Uint8Array, within: readonly Uint8Array[]) {
    const keys = within.map((one) => Buffer.concat([namespace, one])).sort(Buffer.compare);
    const apart = keys.filter((key, i) => !keys.some((other, j) => j < i && startsWith(key, other)));
    this.namespaceLength = namespace.length;
    this.keyPrefix = commonPrefix(apart);
    this.within = apart.length === 1 ? undefined : apart;
  }

  /** The name in the key of a lock of the caller's namespace. */
  nameOf(key: Buffer): Buffer {
    return key.subarray(this.namespaceLength);
  }

  shows(key: Buffer): boolean {
    if (key.indexOf(0, this.namespaceLength) >= 0 || !startsWith(key, this.keyPrefix)) return false;
    return this.within === undefined || this.within.some((prefix) => startsWith(key, prefix));
  }

  /** `position`, or a later one with nothing between that is shown, and no key that is not. */
  clean(position: Position): Position {
    const { slot, key } = position;
    if (key.length === 0 || this.shows(key)) return position;
    const next = this.within?.find((prefix) => Buffer.compare(prefix, key) > 0);
    return next === undefined ? { slot: slot + 1, key: Buffer.alloc(0) } : { slot, key: justBefore(next) };
  }
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && Buffer.compare(bytes.subarray(0, prefix.length), prefix) === 0;
}

function commonPrefix(keys: readonly Buffer[]): Buffer {
  // They are sorted: what the first and the last have in common, all have.
  const first = keys[0];
  const last = keys[keys.length - 1];
  let length = 0;
  while (length < first.length && first[length] === last[length]) length++;
  return first.subarray(0, length);
}

/** No key lies between it and `prefix`, which has no byte 0 at its end. */
function justBefore(prefix: Buffer): Buffer {
  const key = Buffer.concat([prefix, Buffer.of(BEHIND_ALL)]);
  key[prefix.length - 1]--;
  return key;
}
