/**
 * The shapes of JSON requests and answers, for the OpenAPI document. Requests
 * are checked by hand on their way (json-request.ts); a test holds the two
 * against each other.
 *
 * Lengths in bytes have no word in JSON Schema: they are in the descriptions.
 */
import { z } from 'zod';
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { MODE_NAMES } from '../op.ts';

const ttlMs = z.int().min(LIMITS.ttlMsMin).max(LIMITS.ttlMsMax);
const name = z
  .string()
  .min(1)
  .max(LIMITS.nameBytesMax)
  .describe(`1–${LIMITS.nameBytesMax} bytes of UTF-8 without control characters, not "." or ".."`);
const TOKEN_TEXT = /^[A-Za-z0-9._~-]{22,64}$/;
const lockToken = z
  .string()
  .regex(TOKEN_TEXT)
  .describe('A UUID, or 22–64 characters. Fresh for each claim, with at least 122 random bits');
const owner = z.string().max(LIMITS.ownerBytesMax).describe(`At most ${LIMITS.ownerBytesMax} bytes of UTF-8`);
const metadata = z
  .record(z.string(), z.unknown())
  .describe(`At most ${LIMITS.metadataBytesMax} bytes of JSON text`);
const fencingToken = z.int().min(1);
const durationMs = z.int().min(0);

const sessionId = z
  .string()
  .regex(TOKEN_TEXT)
  .describe('A UUID, or 22–64 characters; as secret as a lock token');

const acquireFields = {
  ttlMs: ttlMs.optional().meta({ default: LIMITS.ttlMsDefault }),
  mode: z.enum(MODE_NAMES).optional().meta({ default: 'exclusive' }),
  limit: z
    .int()
    .min(1)
    .max(LIMITS.holdersMax)
    .optional()
    .describe('How many may hold it: with mode semaphore, and only then'),
  waitMs: z
    .int()
    .min(0)
    .max(LIMITS.waitMsMax)
    .optional()
    .meta({ default: 0, description: 'How long to wait for the lock; 0 = a try. Not in batches' }),
  lockDelayMs: z.int().min(0).max(LIMITS.lockDelayMsMax).optional().meta({
    default: 0,
    description: 'How long nobody gets the lock after the claim ended in another way than by release',
  }),
  lockToken: lockToken.optional(),
  sessionId: sessionId.optional().describe('What the claim shall hang on, instead of a ttlMs of its own'),
  owner: owner.optional(),
  metadata: metadata.optional(),
};
const idempotencyKey = z
  .string()
  .min(1)
  .max(LIMITS.idempotencyKeyBytesMax)
  .describe(
    `1–${LIMITS.idempotencyKeyBytesMax} bytes of UTF-8 without control characters; instead of lockToken`,
  );
const renewFields = { ttlMs: ttlMs.optional(), metadata: metadata.optional() };
const verifyFields = { fencingToken: fencingToken.optional(), lockToken: lockToken.optional() };

interface Acquire {
  readonly ttlMs?: number | undefined;
  readonly mode?: string | undefined;
  readonly limit?: number | undefined;
  readonly sessionId?: string | undefined;
  readonly lockToken?: string | undefined;
  readonly idempotencyKey?: string | undefined;
}

/** What JSON Schema has no word for: which fields go together. */
function goesTogether(acquire: Acquire): boolean {
  return (
    (acquire.mode === 'semaphore') === (acquire.limit !== undefined) &&
    (acquire.sessionId === undefined || acquire.ttlMs === undefined) &&
    (acquire.idempotencyKey === undefined || acquire.lockToken === undefined)
  );
}

export const acquireBody = z.strictObject(acquireFields).refine(goesTogether);
export const renewBody = z.strictObject(renewFields);
export const verifyBody = z.strictObject(verifyFields).describe('Either fencingToken or lockToken');
export const sessionBody = z.strictObject({
  ttlMs: ttlMs.optional().meta({ default: LIMITS.ttlMsDefault }),
  owner: owner.optional(),
  sessionId: sessionId.optional(),
});

const { waitMs: _, ...acquireInBatch } = acquireFields;
const item = <T extends z.ZodRawShape>(op: string, fields: T) =>
  z.strictObject({ op: z.literal(op), name, ...fields });

export const batchItem = z.discriminatedUnion('op', [
  item('acquire', { ...acquireInBatch, idempotencyKey: idempotencyKey.optional() }).refine(goesTogether),
  item('renew', { ...renewFields, lockToken }),
  item('release', { lockToken }),
  item('get', { consistency: z.enum(['strong', 'cached']).optional() }),
  item('verify', verifyFields),
]);

export const batchBody = z.strictObject({
  atomic: z
    .boolean()
    .optional()
    .meta({ default: false, description: 'All or none. Only acquires; 409 when one of them was refused' }),
  ops: z.array(batchItem).max(LIMITS.batchOpsMax),
});

const mode = z.enum(MODE_NAMES);
const holder = z.object({ owner: z.string(), fencingToken, mode, expiresInMs: durationMs });

export const claim = z.object({
  name,
  lockToken,
  fencingToken,
  mode,
  limit: z.int().optional(),
  owner: z.string().optional(),
  sessionId: z.string().optional(),
  ttlMs,
  expiresInMs: durationMs,
  waitedMs: durationMs,
});

export const session = z.object({
  sessionId: z.string(),
  owner: z.string().optional(),
  ttlMs,
  expiresInMs: durationMs,
  waitedMs: durationMs,
});

export const released = z.object({
  released: z.int().min(0).describe('How many claims were ended'),
});

export const lockState = z.object({
  name,
  held: z.boolean(),
  mode: mode.optional(),
  limit: z.int().optional(),
  holders: z.array(holder.extend({ metadata: metadata.optional() })),
  queueLength: z.int().min(0),
  revision: z.int().min(0),
  source: z.enum(['shard', 'cache']),
  ageMs: durationMs,
});

export const lockList = z.object({ locks: z.array(lockState), nextCursor: z.string().optional() });
export const verdict = z.object({
  current: z.boolean(),
  fencingToken: fencingToken.optional(),
  expiresInMs: durationMs.optional(),
});
export const batchResults = z.object({
  results: z.array(
    z.object({ status: z.int() }).loose().describe('The body of the op alone, with its status'),
  ),
});

/** Codes that clients may meet. */
const shownCodes = (Object.keys(CODES) as ErrorCode[]).filter((code) => code !== 'not_owner');

const errorFields = {
  code: z.enum(shownCodes),
  detail: z.string(),
  retryable: z.boolean(),
  retryAfterMs: z.int().optional(),
  errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
};

export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    ...errorFields,
    requestId: z.string(),
    holder: holder.optional(),
    queueLength: z.int().optional(),
    lockToken: lockToken.optional(),
    sessionId: z.string().optional(),
    expiresInMs: durationMs.optional(),
  })
  .describe(
    'RFC 9457. holder and queueLength with lock_held and wait_timeout, holder with mode_conflict, ' +
      'queueLength with queue_full, lockToken or sessionId with outcome_unknown, ' +
      'expiresInMs (of what ends first) with shard_unavailable of a session that was not renewed everywhere',
  );
