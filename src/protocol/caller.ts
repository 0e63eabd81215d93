/**
 * Who asks. Every op carries it: keys of locks begin with the caller's
 * namespace, and a claim belongs to the principal that took it.
 */

export const DEFAULT_NAMESPACE = 'default';

/** Neither has control characters, nor is it longer than its limit (LIMITS.namespaceBytesMax, principalBytesMax). */
export interface Caller {
  readonly namespace: string;
  /** Empty when the service asks for no keys. */
  readonly principal: string;
}

/** A caller as it stands in ops: made once for each socket or key, not for each op. */
export class CallerBytes {
  /** What stands in front of a name: `namespace \0`, or nothing in the namespace `default`. */
  readonly prefix: Uint8Array;
  readonly principal: Uint8Array;
  /** Its ops are the same as nobody's: they need not be changed for it. */
  readonly isAnybody: boolean;

  constructor({ namespace, principal }: Caller) {
    this.prefix = Buffer.from(namespace === DEFAULT_NAMESPACE ? '' : `${namespace}\0`);
    this.principal = Buffer.from(principal);
    this.isAnybody = this.prefix.length === 0 && this.principal.length === 0;
  }
}

/** Every caller of a service that asks for no keys. */
export const ANYBODY = new CallerBytes({ namespace: DEFAULT_NAMESPACE, principal: '' });
