/** `/openapi.json`: OpenAPI 3.1 of the HTTP calls, with the limits of this version. */
import { z } from 'zod';
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import * as schemas from './schemas.ts';

const OPENAPI_VERSION = '3.1.0';

/** What a client may need to know of the bounds; more are in limits.ts. */
const TOLD_LIMITS = {
  nameBytesMax: LIMITS.nameBytesMax,
  ownerBytesMax: LIMITS.ownerBytesMax,
  metadataBytesMax: LIMITS.metadataBytesMax,
  ttlMsMin: LIMITS.ttlMsMin,
  ttlMsMax: LIMITS.ttlMsMax,
  ttlMsDefault: LIMITS.ttlMsDefault,
  waitMsMax: LIMITS.waitMsMax,
  lockDelayMsMax: LIMITS.lockDelayMsMax,
  holdersMax: LIMITS.holdersMax,
  waitersMax: LIMITS.waitersMax,
  statePlacesBytesMax: LIMITS.statePlacesBytesMax,
  reasonBytesMax: LIMITS.reasonBytesMax,
  idempotencyKeyBytesMax: LIMITS.idempotencyKeyBytesMax,
  idempotencyWindowMs: LIMITS.idempotencyWindowMs,
  sessionLocksMax: LIMITS.sessionLocksMax,
  bodyBytesMax: LIMITS.bodyBytesMax,
  batchBytesMax: LIMITS.batchBytesMax,
  batchOpsMax: LIMITS.batchOpsMax,
  frameBytesMax: LIMITS.frameBytesMax,
  listLimitMax: LIMITS.listLimitMax,
  socketsMax: LIMITS.socketsMax,
  socketRequestsMax: LIMITS.socketRequestsMax,
  socketStandingMax: LIMITS.socketStandingMax,
  standingMax: LIMITS.standingMax,
  reattachMs: LIMITS.reattachMs,
  socketIdleSecondsMax: LIMITS.socketIdleSecondsMax,
  socketBackpressureBytesMax: LIMITS.socketBackpressureBytesMax,
};

const COMPONENTS = {
  AcquireBody: schemas.acquireBody,
  RenewBody: schemas.renewBody,
  VerifyBody: schemas.verifyBody,
  BatchBody: schemas.batchBody,
  SessionBody: schemas.sessionBody,
  Claim: schemas.claim,
  LockState: schemas.lockState,
  LockList: schemas.lockList,
  Verdict: schemas.verdict,
  Released: schemas.released,
  Session: schemas.session,
  BatchResults: schemas.batchResults,
  Problem: schemas.problem,
} as const;

type Component = keyof typeof COMPONENTS;

/** Of calls that need no key. */
const OPEN: readonly ErrorCode[] = ['bad_request', 'forbidden', 'internal'];
const ALWAYS: readonly ErrorCode[] = ['bad_request', 'unauthenticated', 'forbidden', 'internal'];
const OF_OPS: readonly ErrorCode[] = [
  ...ALWAYS,
  'too_large',
  'unsupported_media_type',
  'shard_unavailable',
  'overloaded',
  'moving',
  'draining',
  'outcome_unknown',
];
const OF_ACQUIRE: readonly ErrorCode[] = [
  ...OF_OPS,
  'lock_held',
  'wait_timeout',
  'mode_conflict',
  'cancelled',
  'not_held',
  'session_ended',
  'idempotency_mismatch',
  'quota_exceeded',
  'queue_full',
];

let cached: { version: string; text: string } | undefined;

export function openApiText(version: string): string {
  if (cached?.version !== version) cached = { version, text: JSON.stringify(openApi(version)) };
  return cached.text;
}

function openApi(version: string): object {
  const components: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(COMPONENTS)) {
    const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' });
    components[name] = rest;
  }
  return {
    openapi: OPENAPI_VERSION,
    info: { title: 'Holdfast', version, description: 'A distributed lock service.' },
    paths: { ...lockPaths(), ...sessionPaths(), ...otherPaths() },
    components: {
      schemas: components,
      securitySchemes: { key: { type: 'http', scheme: 'bearer' } },
    },
    // None is needed where the service was started without keys.
    security: [{ key: [] }, {}],
    'x-limits': TOLD_LIMITS,
  };
}

function lockPaths(): object {
  return {
    '/v1/locks/{name}': {
      parameters: [NAME],
      post: call('Acquire', { 201: 'Claim', 200: 'Claim' }, OF_ACQUIRE, 'AcquireBody', [IDEMPOTENCY_KEY]),
      put: call('Renew', { 200: 'Claim' }, [...OF_OPS, 'not_held', 'session_bound'], 'RenewBody', [
        { ...TOKEN, required: true },
      ]),
      delete: call(
        'Release, or release by force (200)',
        { 204: undefined, 200: 'Released' },
        [...OF_OPS, 'not_held'],
        undefined,
        [TOKEN, ...FORCE],
      ),
      get: call('Look at one lock', { 200: 'LockState' }, OF_OPS, undefined, [
        query('consistency', { type: 'string', enum: ['strong', 'cached'], default: 'strong' }),
      ]),
    },
    '/v1/locks/{name}/verify': {
      parameters: [NAME],
      post: call('Is this token current?', { 200: 'Verdict' }, OF_OPS, 'VerifyBody'),
    },
    '/v1/locks': {
      get: call('List locks', { 200: 'LockList' }, [...ALWAYS, 'shard_unavailable'], undefined, [
        query('prefix', { type: 'string' }),
        query('owner', { type: 'string' }),
        query('limit', {
          type: 'integer',
          minimum: 1,
          maximum: LIMITS.listLimitMax,
          default: LIMITS.listLimitDefault,
        }),
        query('cursor', { type: 'string' }),
      ]),
    },
    '/v1/batch': {
      post: call('Many ops at once', { 200: 'BatchResults' }, [...OF_OPS, 'lock_held'], 'BatchBody'),
    },
  };
}

function sessionPaths(): object {
  const errors: readonly ErrorCode[] = [...OF_OPS, 'session_ended'];
  return {
    '/v1/sessions': {
      post: call(
        'Open a session',
        { 201: 'Session', 200: 'Session' },
        [...errors, 'idempotency_mismatch'],
        'SessionBody',
      ),
    },
    '/v1/sessions/{id}': {
      parameters: [
        { name: 'id', in: 'path', required: true, schema: { type: 'string' }, description: 'A sessionId' },
      ],
      put: call('Keep a session and all its locks alive', { 200: 'Session' }, errors),
      delete: call('End a session and release all its locks', { 204: undefined }, errors),
      get: call('Look at a session', { 200: 'Session' }, errors),
    },
  };
}

function otherPaths(): object {
  const plain = (summary: string) => ({ get: call(summary, { 200: undefined }, ALWAYS) });
  return {
    '/v1/cluster': plain('Shards, slots and owners'),
    '/v1/ws': { get: { ...call('WebSocket', {}, ALWAYS), description: 'holdfast.v1.json, holdfast.v1.bin' } },
    '/healthz': { get: { ...call('Alive', { 200: undefined }, OPEN), security: [] } },
    '/readyz': { get: { ...call('Ready to serve', { 200: undefined, 503: undefined }, []), security: [] } },
    '/metrics': plain('Prometheus metrics'),
    '/openapi.json': plain('This document'),
  };
}

const NAME = {
  name: 'name',
  in: 'path',
  required: true,
  schema: { type: 'string' },
  description: 'Percent-encoded',
};
const TOKEN = { name: 'Holdfast-Lock-Token', in: 'header', schema: { type: 'string' } };
const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  schema: { type: 'string', pattern: '^".+"$' },
  description: `A quoted string of at most ${LIMITS.idempotencyKeyBytesMax} characters; instead of lockToken`,
};
const FORCE = [
  query('force', { type: 'string', enum: ['true'] }, 'Release whoever holds it: for admins, without a token'),
  query('reason', { type: 'string' }, `With force: 1–${LIMITS.reasonBytesMax} bytes, kept in the journal`),
  query('fencingToken', { type: 'integer', minimum: 1 }, 'With force: only this claim'),
];

function query(name: string, schema: object, description?: string): object {
  return { name, in: 'query', schema, ...(description !== undefined && { description }) };
}

function call(
  summary: string,
  answers: Readonly<Record<number, Component | undefined>>,
  errors: readonly ErrorCode[],
  body?: Component,
  parameters: readonly object[] = [],
): object {
  const responses: Record<string, object> = {};
  for (const [status, component] of Object.entries(answers)) {
    responses[status] =
      component === undefined ? { description: summary } : { description: component, ...json(component) };
  }
  for (const code of errors) {
    const { status } = CODES[code];
    const codes = errors.filter((other) => CODES[other].status === status);
    responses[status] = { description: codes.join(', '), ...json('Problem', 'application/problem+json') };
  }
  return {
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && { requestBody: json(body) }),
    responses,
  };
}

function json(component: Component, type = 'application/json'): { content: object } {
  return { content: { [type]: { schema: { $ref: `#/components/schemas/${component}` } } } };
}
