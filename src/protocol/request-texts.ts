/**
 * The texts of one binary request: where they lie in the frame, whether they
 * may be what they are, and how an op gets those that are not in the frame:
 * the caller's namespace and principal, and what the server makes.
 */
import { Kind, type Op, OpFlag, SESSION_KEY } from '../op.ts';
import { copyBytes } from './bytes.ts';
import type { CallerBytes } from './caller.ts';
import { Scratch } from './scratch.ts';
import { makeToken } from './token.ts';
import { checkMetadata, checkNameFast, checkOwner, checkToken, packToken, UUID_BYTES } from './words.ts';

export const LENGTHS = 'the lengths of its fields do not add up to the size of the request';
const TOKEN_MISSING = 'this op needs a lock token';

/** Places the texts behind each other and checks all but the token. */
export function checkTexts(view: DataView, op: Op, end: number): string {
  op.tokenAt = op.keyAt + op.keyLength;
  op.ownerAt = op.tokenAt + op.tokenLength;
  op.metadataAt = op.ownerAt + op.ownerLength;
  if (op.metadataAt + op.metadataLength !== end) return LENGTHS;
  const wrongName = checkNameFast(op.bytes, view, op.keyAt, op.keyLength);
  if (wrongName !== '') return wrongName;
  if (op.ownerLength !== 0) {
    const wrongOwner = checkOwner(op.bytes, op.ownerAt, op.ownerLength);
    if (wrongOwner !== '') return wrongOwner;
  }
  return op.metadataLength === 0 ? '' : checkMetadata(op.bytes, op.metadataAt, op.metadataLength);
}

export function checkShownToken(op: Op): string {
  if (op.tokenLength === 0) return TOKEN_MISSING;
  op.tokenLength = packToken(op.bytes, op.tokenAt, op.tokenLength);
  return checkToken(op.bytes, op.tokenAt, op.tokenLength);
}

const scratch = new Scratch();
const made = new Uint8Array(UUID_BYTES);

/** A frame has no room for what the server adds, so the op moves to bytes that do: namespace, principal, tokens. */
export function moveTexts(op: Op, caller: CallerBytes): void {
  const { bytes } = scratch;
  scratch.length = 0;
  scratch.append(caller.prefix);
  const shift = scratch.length - op.keyAt;
  const end = op.sessionLength === 0 ? op.metadataAt + op.metadataLength : op.sessionAt + op.sessionLength;
  scratch.length = copyBytes(op.bytes, op.keyAt, end - op.keyAt, bytes, scratch.length);
  op.tokenAt += shift;
  op.ownerAt += shift;
  op.metadataAt += shift;
  op.sessionAt += shift;
  setKey(op, caller, op.keyLength + caller.prefix.length);
}

/** The same for an op on the session whose id (length 0: to be made) lies at `idAt`. */
export function moveSession(op: Op, caller: CallerBytes, idAt: number, idLength: number): void {
  scratch.length = 0;
  scratch.append(caller.prefix);
  scratch.appendByte(SESSION_KEY);
  const at = scratch.length;
  scratch.length = copyBytes(op.bytes, idAt, idLength, scratch.bytes, at);
  if (idLength === 0) {
    makeToken(made, 0);
    scratch.append(made);
    op.flags |= OpFlag.madeToken;
  }
  const keyLength = scratch.length;
  const ownerAt = scratch.length;
  scratch.length = copyBytes(op.bytes, op.ownerAt, op.ownerLength, scratch.bytes, ownerAt);
  op.ownerAt = ownerAt;
  if (op.kind === Kind.sessionOpen) {
    op.tokenAt = at;
    op.tokenLength = keyLength - at;
  }
  setKey(op, caller, keyLength);
}

function setKey(op: Op, caller: CallerBytes, keyLength: number): void {
  op.bytes = scratch.bytes;
  op.keyAt = 0;
  op.keyLength = keyLength;
  op.namespaceLength = caller.prefix.length;
  op.principalAt = scratch.length;
  op.principalLength = caller.principal.length;
  scratch.append(caller.principal);
}

/** A token of the server's, for an op that was moved. */
export function giveToken(op: Op): void {
  makeToken(made, 0);
  takeMade(op, made);
}

/** A token that the client does not know yet, for an op that was moved. */
export function takeMade(op: Op, token: Uint8Array): void {
  op.tokenAt = scratch.length;
  op.tokenLength = UUID_BYTES;
  op.flags |= OpFlag.madeToken;
  scratch.append(token);
}
