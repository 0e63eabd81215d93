/**
 * A session as the ops name it: at its home, by the key that decides which slot
 * that is, and in every slot that has locks of it, by the key of its stub.
 *
 *   home key := [namespace 00] SESSION_KEY id
 *   stub key := [namespace 00] STUB_KEY id
 */
import { type Op, SESSION_KEY, STUB_KEY } from '../op.ts';

/** The bytes of both keys and the principal, back to back. */
export class SessionName {
  /** Tells sessions apart: namespace, id and principal in one. */
  readonly text: string;
  readonly idLength: number;
  private readonly bytes: Buffer;
  private readonly namespaceLength: number;
  private readonly keyLength: number;

  private constructor(prefix: Uint8Array, id: Uint8Array, principal: Uint8Array) {
    const kinds = [Uint8Array.of(SESSION_KEY), Uint8Array.of(STUB_KEY)];
    this.bytes = Buffer.concat([prefix, kinds[0], id, prefix, kinds[1], id, principal]);
    this.namespaceLength = prefix.length;
    this.idLength = id.length;
    this.keyLength = prefix.length + 1 + id.length;
    this.text = `${this.bytes.toString('latin1', 0, this.keyLength)}\0${Buffer.from(principal).toString('latin1')}`;
  }

  /** Of an op whose key is a session's. */
  static ofKey(op: Op): SessionName {
    const { bytes, keyAt, keyLength, namespaceLength } = op;
    const idAt = keyAt + namespaceLength + 1;
    return new SessionName(
      bytes.subarray(keyAt, keyAt + namespaceLength),
      bytes.subarray(idAt, keyAt + keyLength),
      principalOf(op),
    );
  }

  /** Of an acquire in a session. */
  static ofClaim(op: Op): SessionName {
    const { bytes, keyAt, namespaceLength, sessionAt, sessionLength } = op;
    return new SessionName(
      bytes.subarray(keyAt, keyAt + namespaceLength),
      bytes.subarray(sessionAt, sessionAt + sessionLength),
      principalOf(op),
    );
  }

  /** Makes `op` one at the session's home; `slot`: which its sessionJoin or sessionActivate is about. */
  atHome(op: Op, kind: number, receivedAt: number, slot = 0): void {
    this.fill(op, kind, receivedAt);
    op.keyAt = 0;
    op.fencingToken = slot;
  }

  /** Makes `op` one at the stub in some slot. */
  atStub(op: Op, kind: number, receivedAt: number): void {
    this.fill(op, kind, receivedAt);
    op.keyAt = this.keyLength;
  }

  private fill(op: Op, kind: number, receivedAt: number): void {
    const { bytes, keyLength } = this;
    clearOp(op, kind, receivedAt);
    op.bytes = bytes;
    op.keyLength = keyLength;
    op.namespaceLength = this.namespaceLength;
    op.principalAt = 2 * keyLength;
    op.principalLength = bytes.length - 2 * keyLength;
  }
}

export function principalOf({ bytes, principalAt, principalLength }: Op): Uint8Array {
  return bytes.subarray(principalAt, principalAt + principalLength);
}

/** An op without texts, flags and what most ops do not have. */
export function clearOp(op: Op, kind: number, receivedAt: number): void {
  op.clear();
  op.kind = kind;
  op.receivedAt = receivedAt;
}
