/**
 * API keys: what one looks like, and the file that says who may do what.
 *
 *   key := "hf_" id "_" secret      id: 4–32 of a–z 0–9, secret: 32 random bytes in base64url
 *
 * The file keeps SHA-256 of the whole key and not the key. That is enough: a
 * slow hash protects secrets that can be guessed, and 256 random bits can't.
 * Nothing of a key or its hash appears in a message.
 */
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { ConfigError, shown } from './error.ts';
import { configErrorOf, readYaml } from './yaml.ts';

/** admin: force too, and everything that the others may; lock: also look; read: only look. */
export const RIGHTS = ['lock', 'read', 'admin'] as const;
export type Right = (typeof RIGHTS)[number];

export const DEFAULT_NAMESPACE = 'default';

export interface KeyEntry {
  readonly id: string;
  /** SHA-256 of the whole key. */
  readonly hash: Uint8Array;
  readonly principal: string;
  readonly namespace: string;
  /** What names must begin with, one of them; undefined: every name of the namespace. */
  readonly prefixes: readonly string[] | undefined;
  readonly rights: readonly Right[];
  readonly created: string | undefined;
  /** As written, and in ms of the epoch: from then on the key is none. */
  readonly expires: string | undefined;
  readonly expiresAt: number;
  readonly comment: string | undefined;
}

/** An entry as it stands in the file. */
export type KeyInput = z.input<typeof keySchema>;

const WHAT = 'the keys file';
const ID_ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';
const ID_CHARACTERS = 10;
const SECRET_BYTES = 32;
const HASH_BYTES = 32;
const KEY = /^hf_([a-z0-9]{4,32})_[\w-]{43}$/;
/** Whatever begins like a key, also one that was cut off or pasted into a wrong place. */
const KEY_LIKE = /hf_[a-z0-9]{1,40}_[\w-]{8,}/g;

const ID = 'an id of 4–32 characters a–z and 0–9';
const HASH = 'sha256: and 64 hex digits, as holdfast keys create writes it';
const PREFIXES = `a list of 1–${LIMITS.keyPrefixesMax} prefixes, or none for all names`;
const RIGHTS_ALLOWED = `a list of one or more of ${RIGHTS.join(', ')}, each once`;
const TIME = 'a time such as 2027-01-31 or 2027-01-31T12:00:00Z';
const KEYS = `a list of at most ${LIMITS.keysMax} keys`;

/** Without control characters and halves of surrogate pairs: what may be a part of a lock's key. */
function words(what: string, bytesMax: number): z.ZodString {
  const allowed = `${what} of 1–${bytesMax} bytes without control characters`;
  return z
    .string(allowed)
    .regex(/^[^\p{Cc}\p{Cs}]+$/u, allowed)
    .refine((value) => Buffer.byteLength(value) <= bytesMax, allowed);
}

const time = z.union([z.iso.date(TIME), z.iso.datetime({ offset: true, error: TIME })], TIME);

const keyShape = {
  id: z.string(ID).regex(/^[a-z0-9]{4,32}$/, ID),
  hash: z.string(HASH).regex(/^sha256:[0-9a-f]{64}$/, HASH),
  principal: words('a name', LIMITS.principalBytesMax),
  namespace: words('a name', LIMITS.namespaceBytesMax).default(DEFAULT_NAMESPACE),
  prefixes: z
    .array(words('a prefix', LIMITS.nameBytesMax), PREFIXES)
    .min(1, PREFIXES)
    .max(LIMITS.keyPrefixesMax, PREFIXES)
    .optional(),
  rights: z
    .array(z.enum(RIGHTS, RIGHTS_ALLOWED), RIGHTS_ALLOWED)
    .min(1, RIGHTS_ALLOWED)
    .refine((rights) => new Set(rights).size === rights.length, RIGHTS_ALLOWED),
  created: time.optional(),
  expires: time.optional(),
  comment: z.string('a text').max(1_024, 'a text of at most 1024 characters').optional(),
};

export const keySchema = strict(keyShape);
const fileSchema = strict({ keys: z.array(keySchema, KEYS).max(LIMITS.keysMax, KEYS) });

function strict<T extends z.ZodRawShape>(shape: T) {
  const settings = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? settings : `settings ${settings}`),
  });
}

/**
 * Reads and checks a keys file.
 *
 * @throws ConfigError with one line: file, place, value, what is allowed
 */
export function readKeysFile(path: string): readonly KeyEntry[] {
  try {
    return checkKeys(readYaml(path, WHAT), path);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(withoutKeys(error.message));
  }
}

/**
 * @param content the file as plain values
 * @param path how messages call it
 * @throws ConfigError
 */
export function checkKeys(content: unknown, path: string): readonly KeyEntry[] {
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    throw new ConfigError(withoutKeys(configErrorOf(parsed.error, path, withoutHashes(content)).message));
  }
  const ids = new Set<string>();
  return parsed.data.keys.map((key, i) => {
    if (ids.has(key.id)) {
      throw new ConfigError(
        `${path}: keys[${i}].id is ${shown(key.id)}; allowed: an id that no other key has`,
      );
    }
    ids.add(key.id);
    return entryOf(key);
  });
}

function entryOf(key: z.output<typeof keySchema>): KeyEntry {
  return {
    id: key.id,
    hash: Buffer.from(key.hash.slice('sha256:'.length), 'hex'),
    principal: key.principal,
    namespace: key.namespace,
    prefixes: key.prefixes,
    rights: key.rights,
    created: key.created,
    expires: key.expires,
    expiresAt: key.expires === undefined ? Infinity : Date.parse(key.expires),
    comment: key.comment,
  };
}

/** Where a hash should be may be a key that was pasted there by mistake. */
function withoutHashes(content: unknown): unknown {
  const { keys } = (content ?? {}) as { keys?: unknown };
  if (!Array.isArray(keys)) return content;
  const hidden = keys.map((key: unknown) => {
    const isObject = typeof key === 'object' && key !== null && 'hash' in key;
    return isObject ? { ...key, hash: '***' } : key;
  });
  return { ...(content as object), keys: hidden };
}

/** `text` with whatever looks like a key made unreadable. */
export function withoutKeys(text: string): string {
  return text.replaceAll(KEY_LIKE, 'hf_***');
}

/** The id in a key; undefined: it is none. */
export function idOfKey(key: string): string | undefined {
  return KEY.exec(key)?.[1];
}

export function hashOfKey(key: string): Uint8Array {
  return createHash('sha256').update(key).digest();
}

/** A new key: shown once, kept nowhere; `hash` is what goes into the file. */
export function makeKey(): { key: string; id: string; hash: string } {
  const id = Array.from({ length: ID_CHARACTERS }, () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]).join('');
  const key = `hf_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { key, id, hash: `sha256:${Buffer.from(hashOfKey(key)).toString('hex')}` };
}

/** A hash that no key has: what an unknown id is compared with, so that it takes as long as a known one. */
export const NO_HASH: Uint8Array = new Uint8Array(HASH_BYTES);
