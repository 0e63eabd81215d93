import { expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { openApiText } from '../../src/protocol/openapi.ts';

interface Call {
  parameters?: { name: string; required?: boolean }[];
  security?: unknown;
  responses?: Record<string, unknown>;
}

interface Document {
  openapi: string;
  info: { version: string };
  security: unknown;
  paths: Record<string, Record<string, Call>>;
  components: {
    schemas: Record<string, { properties?: Record<string, unknown>; additionalProperties?: unknown }>;
  };
  'x-limits': Record<string, number>;
}

const document = JSON.parse(openApiText('1.2.3')) as Document;

test('names version and every call', () => {
  expect(document.openapi).toMatch(/^3\.1/);
  expect(document.info.version).toBe('1.2.3');
  expect(Object.keys(document.paths['/v1/locks/{name}'])).toEqual([
    'parameters',
    'post',
    'put',
    'delete',
    'get',
  ]);
  for (const path of [
    '/v1/locks',
    '/v1/locks/{name}/verify',
    '/v1/batch',
    '/v1/sessions',
    '/v1/sessions/{id}',
    '/v1/cluster',
    '/v1/ws',
    '/healthz',
    '/readyz',
    '/metrics',
  ]) {
    expect(document.paths).toHaveProperty([path]);
  }
});

test('keys are asked for everywhere, if at all, but for the health of the process', () => {
  expect(document.security).toEqual([{ key: [] }, {}]);
  for (const [path, methods] of Object.entries(document.paths)) {
    const isOpen = path === '/healthz' || path === '/readyz';
    for (const [method, { security, responses }] of Object.entries(methods)) {
      if (method === 'parameters') continue;
      expect([path, security]).toEqual([path, isOpen ? [] : undefined]);
      expect('401' in responses!).toBe(!isOpen);
    }
  }
});

test('every reference leads somewhere', () => {
  const references = [...openApiText('1.2.3').matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(
    ([, name]) => name,
  );
  expect(references.length).toBeGreaterThan(10);
  for (const name of references) expect(document.components.schemas).toHaveProperty([name]);
});

test('tells how to wait, to force and to keep sessions', () => {
  const lock = document.paths['/v1/locks/{name}'];
  const named = (call: Call): string[] =>
    (call.parameters ?? []).map(({ name, required }) => (required === true ? `${name}!` : name));
  expect(named(lock.post)).toEqual(['Idempotency-Key']);
  expect(named(lock.put)).toEqual(['Holdfast-Lock-Token!']);
  expect(named(lock.delete)).toEqual(['Holdfast-Lock-Token', 'force', 'reason', 'fencingToken']);
  expect(Object.keys(document.paths['/v1/sessions/{id}'])).toEqual(['parameters', 'put', 'delete', 'get']);
  const { properties } = document.components.schemas.AcquireBody;
  expect(properties?.waitMs).toMatchObject({ minimum: 0, maximum: LIMITS.waitMsMax, default: 0 });
  expect(properties?.limit).toMatchObject({ minimum: 1, maximum: LIMITS.holdersMax });
  expect(properties?.mode).toMatchObject({ enum: ['exclusive', 'shared', 'semaphore'] });
  expect(document.components.schemas.BatchBody.properties?.atomic).toMatchObject({ type: 'boolean' });
  expect(document['x-limits']).toMatchObject({ waitersMax: 1_000, standingMax: LIMITS.standingMax });
  expect(openApiText('1.2.3')).not.toMatch(/not supported/);
});

test('tells the limits and the codes of each status', () => {
  expect(document['x-limits']).toMatchObject({
    frameBytesMax: LIMITS.frameBytesMax,
    batchOpsMax: LIMITS.batchOpsMax,
  });
  expect(document.components.schemas.AcquireBody.properties?.ttlMs).toMatchObject({
    minimum: LIMITS.ttlMsMin,
    maximum: LIMITS.ttlMsMax,
  });
  expect(document.components.schemas.AcquireBody.additionalProperties).toBe(false);
  const { responses } = document.paths['/v1/locks/{name}'].post;
  expect(responses?.['503']).toMatchObject({
    description: 'shard_unavailable, overloaded, moving, draining',
  });
});
