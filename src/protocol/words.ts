/**
 * What a name, a lock token, an owner and metadata may be (API.md, "Words"),
 * as bytes: every protocol checks with these. A check returns '' or what is
 * allowed, ready to be shown.
 */
import { isUtf8 } from 'node:buffer';
import { LIMITS } from '../limits.ts';
import { Kind, Mode } from '../op.ts';

const NAME_LENGTH = `a lock name is 1–${LIMITS.nameBytesMax} bytes`;
const NAME_DOTS = 'a lock name must not be "." or ".."';
const NAME_TEXT = 'a lock name is UTF-8 without control characters';
const TOKEN = `a lock token is a UUID or ${LIMITS.tokenBytesMin}–${LIMITS.tokenBytesMax} characters of A-Z a-z 0-9 . _ ~ -`;
const MODE = 'a mode is 0 (exclusive), 1 (shared) or 2 (semaphore)';
const LIMIT = `the limit of a semaphore is 1–${LIMITS.holdersMax}`;
const SESSION_ID = TOKEN.replace('lock token', 'session id');
const REASON = `a reason of 1–${LIMITS.reasonBytesMax} bytes of UTF-8 without control characters`;
const IDEMPOTENCY_KEY = `an Idempotency-Key has 1–${LIMITS.idempotencyKeyBytesMax} bytes of UTF-8 without control characters`;
const OWNER = `an owner is at most ${LIMITS.ownerBytesMax} bytes of UTF-8 without control characters`;
const METADATA = `metadata is a JSON object of at most ${LIMITS.metadataBytesMax} bytes`;
export const TTL_ALLOWED = `ttlMs is an integer from ${LIMITS.ttlMsMin} to ${LIMITS.ttlMsMax}`;

export const UUID_BYTES = 16;
const UUID_TEXT_BYTES = 36;
const DOT = 0x2e;
const DASH = 0x2d;

export function checkName(bytes: Uint8Array, at: number, length: number): string {
  if (length === 0 || length > LIMITS.nameBytesMax) return NAME_LENGTH;
  if (!isPlainText(bytes, at, length)) return NAME_TEXT;
  if (bytes[at] === DOT && (length === 1 || (length === 2 && bytes[at + 1] === DOT))) return NAME_DOTS;
  return '';
}

/**
 * The same check on the hot path, where nearly all names are ASCII: four bytes
 * at a time. `view` is over the same bytes.
 */
export function checkNameFast(bytes: Uint8Array, view: DataView, at: number, length: number): string {
  if (length < 3 || length > LIMITS.nameBytesMax) return checkName(bytes, at, length);
  const last = at + length - 4;
  let odd = 0;
  for (let i = at; i <= last; i += 4) odd |= oddBytes(view.getUint32(i, true));
  // The rest is at most three bytes: words that overlap, or the slow way.
  if (length >= 4) odd |= oddBytes(view.getUint32(last, true));
  return odd === 0 && length >= 4 ? '' : checkName(bytes, at, length);
}

/** Not 0 when one of the word's bytes is no printable ASCII (it may also be so for a few that are). */
function oddBytes(word: number): number {
  const deleted = word ^ 0x7f7f7f7f;
  return (word | (word - 0x20202020) | ((deleted - 0x01010101) & ~deleted)) & 0x80808080;
}

/** A token in its stored form: 16 bytes, or characters of the alphabet. */
export function checkToken(bytes: Uint8Array, at: number, length: number): string {
  if (length === UUID_BYTES) return '';
  if (length < LIMITS.tokenBytesMin || length > LIMITS.tokenBytesMax) return TOKEN;
  for (let i = at; i < at + length; i++) if (TOKEN_CHARACTERS[bytes[i]] === 0) return TOKEN;
  return '';
}

/** Ids of sessions have the form of tokens, and are kept in the same stored form. */
export function checkSessionId(bytes: Uint8Array, at: number, length: number): string {
  return checkToken(bytes, at, length) === '' ? '' : SESSION_ID;
}

/** Of a forced release. */
export function checkReason(bytes: Uint8Array, at: number, length: number): string {
  const fits = length > 0 && length <= LIMITS.reasonBytesMax;
  return fits && isPlainText(bytes, at, length) ? '' : REASON;
}

export function checkIdempotencyKey(bytes: Uint8Array, at: number, length: number): string {
  const fits = length > 0 && length <= LIMITS.idempotencyKeyBytesMax;
  return fits && isPlainText(bytes, at, length) ? '' : IDEMPOTENCY_KEY;
}

/** Modes, and limits that only a semaphore has. */
export function checkMode(mode: number, limit: number): string {
  if (mode > Mode.semaphore) return MODE;
  if (mode === Mode.semaphore) return limit >= 1 && limit <= LIMITS.holdersMax ? '' : LIMIT;
  return limit === 0 ? '' : 'only a semaphore has a limit';
}

/** A quoted string of RFC 8941, without its quotes; undefined: it is none. */
export function readQuotedString(text: string): string | undefined {
  if (!/^"(?:[ !#-[\]-~]|\\["\\])*"$/.test(text)) return undefined;
  return text.slice(1, -1).replaceAll(/\\(.)/g, '$1');
}

/** The public ops on a session; their key is that of the session. */
export function isSessionKind(kind: number): boolean {
  return kind >= Kind.sessionOpen && kind <= Kind.sessionGet;
}

export function checkOwner(bytes: Uint8Array, at: number, length: number): string {
  return length <= LIMITS.ownerBytesMax && isPlainText(bytes, at, length) ? '' : OWNER;
}

/** JSON text of an object, or empty. */
export function checkMetadata(bytes: Uint8Array, at: number, length: number): string {
  if (length === 0) return '';
  if (length > LIMITS.metadataBytesMax) return METADATA;
  const text = bytes.subarray(at, at + length);
  if (!isUtf8(text)) return METADATA;
  try {
    const value: unknown = JSON.parse(decodeText(bytes, at, length));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? '' : METADATA;
  } catch {
    return METADATA;
  }
}

export function checkTtl(ttlMs: number): string {
  return ttlMs >= LIMITS.ttlMsMin && ttlMs <= LIMITS.ttlMsMax && Number.isInteger(ttlMs) ? '' : TTL_ALLOWED;
}

/** UTF-8 without control characters (C0, DEL, C1). ASCII, which nearly all names are, takes the first loop only. */
function isPlainText(bytes: Uint8Array, at: number, length: number): boolean {
  const end = at + length;
  let seen = 0;
  for (let i = at; i < end; i++) {
    const byte = bytes[i];
    if (byte < 0x20 || byte === 0x7f) return false;
    seen |= byte;
  }
  if (seen < 0x80) return true;
  if (!isUtf8(bytes.subarray(at, end))) return false;
  for (let i = at; i < end - 1; i++) if (bytes[i] === 0xc2 && bytes[i + 1] < 0xa0) return false;
  return true;
}

/**
 * Brings the token at `at` into its stored form, in place: a canonical UUID
 * (lower case, hyphens) becomes its 16 bytes, any other text stays. Returns
 * the length of the stored form.
 */
export function packToken(bytes: Uint8Array, at: number, length: number): number {
  if (length !== UUID_TEXT_BYTES) return length;
  for (let i = 0; i < UUID_TEXT_BYTES; i++) {
    const hyphen = i === 8 || i === 13 || i === 18 || i === 23;
    if (hyphen ? bytes[at + i] !== DASH : HEX_VALUE[bytes[at + i]] > 15) return length;
  }
  let from = at;
  for (let i = 0; i < UUID_BYTES; i++) {
    if (bytes[from] === DASH) from++;
    bytes[at + i] = (HEX_VALUE[bytes[from]] << 4) | HEX_VALUE[bytes[from + 1]];
    from += 2;
  }
  return UUID_BYTES;
}

/** The text that a stored token is shown as. */
export function tokenText(bytes: Uint8Array, at: number, length: number): string {
  if (length !== UUID_BYTES) return decodeText(bytes, at, length);
  let text = '';
  for (let i = 0; i < UUID_BYTES; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) text += '-';
    text += HEX_PAIRS[bytes[at + i]];
  }
  return text;
}

const decoder = new TextDecoder();

/** UTF-8 to text. Short ASCII is put together by hand: the decoder costs a call out of JavaScript. */
export function decodeText(bytes: Uint8Array, at: number, length: number): string {
  if (length > 48) return decoder.decode(bytes.subarray(at, at + length));
  let text = '';
  for (let i = at; i < at + length; i++) {
    const byte = bytes[i];
    if (byte >= 0x80) return decoder.decode(bytes.subarray(at, at + length));
    text += String.fromCharCode(byte);
  }
  return text;
}

const TOKEN_CHARACTERS = new Uint8Array(256);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-') {
  TOKEN_CHARACTERS[character.charCodeAt(0)] = 1;
}

const HEX_VALUE = new Uint8Array(256).fill(255);
for (const [value, character] of [...'0123456789abcdef'].entries())
  HEX_VALUE[character.charCodeAt(0)] = value;

const HEX_PAIRS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
