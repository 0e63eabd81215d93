import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KIND_NAMES, Kind, Mode, OpFlag } from '../../src/op.ts';
import { ANYBODY } from '../../src/protocol/caller.ts';
import { type Fields, Place } from '../../src/protocol/json-fields.ts';
import { OpBuilder } from '../../src/protocol/json-request.ts';
import { build, PACKED, pointers, SOMEBODY, TOKEN } from './building.ts';
import { acquireBody, batchItem, renewBody, sessionBody, verifyBody } from '../../src/protocol/schemas.ts';

test('an acquire with everything becomes an op with everything', () => {
  const { op, problems, lockToken, quotedName } = build(Kind.acquire, {
    name: 'größe "1"',
    ttlMs: 5_000,
    lockToken: TOKEN,
    owner: 'mé',
    metadata: { a: ['ü'] },
    mode: 'exclusive',
    waitMs: 0,
    lockDelayMs: 0,
  });
  expect(problems).toEqual([]);
  const text = (at: number, length: number) => Buffer.from(op.bytes.slice(at, at + length)).toString();
  expect([op.kind, op.flags, op.ttlMs]).toEqual([Kind.acquire, OpFlag.full, 5_000]);
  expect(text(op.keyAt, op.keyLength)).toBe('größe "1"');
  expect(text(op.ownerAt, op.ownerLength)).toBe('mé');
  expect(text(op.metadataAt, op.metadataLength)).toBe('{"a":["ü"]}');
  expect(Buffer.from(op.bytes.slice(op.tokenAt, op.tokenAt + op.tokenLength)).toString('hex')).toBe(
    TOKEN.replaceAll('-', ''),
  );
  expect(lockToken).toBe(TOKEN);
  expect(JSON.parse(quotedName)).toBe('größe "1"');
});

test('a token that the server makes is the one that it tells', () => {
  const { op, lockToken } = build(Kind.acquire, { name: 'a' });
  expect(lockToken).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(Buffer.from(op.bytes.slice(op.tokenAt, op.tokenAt + 16)).toString('hex')).toBe(
    lockToken.replaceAll('-', ''),
  );
});

test('an acquire that waits for a place of a semaphore, on a session', () => {
  const builder = build(Kind.acquire, {
    name: 'a',
    mode: 'semaphore',
    limit: 3,
    waitMs: 5_000,
    lockDelayMs: 250,
    sessionId: TOKEN,
    lockToken: 'n'.repeat(30),
  });
  const { op, problems } = builder;
  expect(problems).toEqual([]);
  expect(op).toMatchObject({ mode: Mode.semaphore, limit: 3, waitMs: 5_000, lockDelayMs: 250, ttlMs: 0 });
  expect(op.bytes.subarray(op.sessionAt, op.sessionAt + op.sessionLength)).toEqual(PACKED);
  expect(builder.request()).toEqual({
    kind: Kind.acquire,
    quotedName: '"a"',
    lockToken: 'n'.repeat(30),
    sessionId: '',
  });
});

const good: Readonly<Record<string, Fields>> = {
  acquire: { name: 'a' },
  renew: { name: 'a', lockToken: TOKEN },
  release: { name: 'a', lockToken: TOKEN },
  get: { name: 'a' },
  verify: { name: 'a', fencingToken: 1 },
};
const ofSockets: Readonly<Record<string, Fields>> = {
  ...good,
  watch: { name: 'a' },
  cancel: { name: 'a' },
  'session.open': {},
  'session.keepalive': { sessionId: TOKEN },
  'session.end': { sessionId: TOKEN },
};

describe.each(Object.entries(ofSockets))('%s', (name, fields) => {
  const kind = KIND_NAMES.indexOf(name as (typeof KIND_NAMES)[number]);

  test('passes, and every missing field is pointed at', () => {
    expect(pointers(kind, fields)).toEqual([]);
    for (const field of Object.keys(fields)) {
      const { [field]: _, ...rest } = fields;
      expect(pointers(kind, rest)).toEqual([`/${field}`]);
    }
  });

  test('an unknown field is pointed at, also a hostile one', () => {
    expect(pointers(kind, { ...fields, ttlms: 1 })).toEqual(['/ttlms']);
    expect(pointers(kind, { ...fields, constructor: 1 })).toEqual(['/constructor']);
    expect(pointers(kind, { ...fields, ['a/b~c']: 1 })).toEqual(['/a~1b~0c']);
    expect(
      pointers(
        kind,
        JSON.parse(`{"__proto__":{"x":1},${JSON.stringify(fields).slice(1)}`.replace(',}', '}')) as Fields,
      ),
    ).toEqual(['/__proto__']);
    const long = build(kind, { ...fields, ['x'.repeat(10_000)]: 1 }).problems[0];
    expect(long.pointer.length).toBeLessThan(100);
  });
});

test.each<[string, Fields]>([
  ['name', { name: '' }],
  ['name', { name: '.' }],
  ['name', { name: '..' }],
  ['name', { name: 'x'.repeat(513) }],
  ['name', { name: 'é'.repeat(257) }],
  ['name', { name: 'a\u0000b' }],
  ['name', { name: '\ud800' }],
  ['name', { name: 7 }],
  ['name', { name: null }],
  ['name', { name: ['a'] }],
  ['ttlMs', { ttlMs: 999 }],
  ['ttlMs', { ttlMs: 86_400_001 }],
  ['ttlMs', { ttlMs: 1_000.5 }],
  ['ttlMs', { ttlMs: '5000' }],
  ['ttlMs', { ttlMs: null }],
  ['ttlMs', { ttlMs: 1e308 }],
  ['mode', { mode: 'Exclusive' }],
  ['mode', { mode: 1 }],
  ['mode', { mode: null }],
  ['limit', { limit: 3 }],
  ['limit', { limit: 3, mode: 'shared' }],
  ['limit', { mode: 'semaphore' }],
  ['limit', { mode: 'semaphore', limit: 0 }],
  ['limit', { mode: 'semaphore', limit: 10_001 }],
  ['limit', { mode: 'semaphore', limit: 1.5 }],
  ['waitMs', { waitMs: -1 }],
  ['waitMs', { waitMs: 300_001 }],
  ['waitMs', { waitMs: '0' }],
  ['lockDelayMs', { lockDelayMs: -1 }],
  ['lockDelayMs', { lockDelayMs: 300_001 }],
  ['ttlMs', { sessionId: TOKEN, ttlMs: 5_000 }],
  ['sessionId', { sessionId: 'short' }],
  ['sessionId', { sessionId: 'sixteen-letters!' }],
  ['lockToken', { lockToken: 'short' }],
  ['lockToken', { lockToken: 'sixteen-letters!' }],
  ['lockToken', { lockToken: 'abcdefghijklmnop' }],
  ['lockToken', { lockToken: 'x'.repeat(65) }],
  ['lockToken', { lockToken: 'é'.repeat(22) }],
  ['lockToken', { lockToken: '"'.repeat(22) }],
  ['lockToken', { lockToken: 5 }],
  ['owner', { owner: 'x'.repeat(257) }],
  ['owner', { owner: 'a\nb' }],
  ['owner', { owner: {} }],
  ['metadata', { metadata: [] }],
  ['metadata', { metadata: 'x' }],
  ['metadata', { metadata: null }],
  ['metadata', { metadata: { a: 'x'.repeat(1_024) } }],
])('acquire: a wrong %s is pointed at: %j', (field, wrong) => {
  expect(pointers(Kind.acquire, { name: 'a', ...wrong })).toEqual([`/${field}`]);
});

test('an op of a batch does not wait', () => {
  const { problems } = build(Kind.acquire, { name: 'a', waitMs: 0 }, Place.item);
  expect(problems).toEqual([{ pointer: '/waitMs', detail: 'an op of a batch does not wait' }]);
  expect(pointers(Kind.get, { name: 'a', waitMs: 0 }, Place.item)).toEqual(['/waitMs']);
});

test('metadata that is nested too deep for the stack is refused like any that is too large', () => {
  const deep = JSON.parse(`${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`) as unknown;
  expect(pointers(Kind.acquire, { name: 'a', metadata: deep })).toEqual(['/metadata']);
});

test.each([0, -1, 1.5, 2 ** 53, '1', null])('verify: %j is no fencing token', (fencingToken) => {
  expect(pointers(Kind.verify, { name: 'a', fencingToken })).toContain('/fencingToken');
});

test('verify takes one of two tokens', () => {
  expect(pointers(Kind.verify, { name: 'a', fencingToken: 1, lockToken: TOKEN })).toEqual(['/fencingToken']);
  expect(pointers(Kind.verify, { name: 'a', lockToken: TOKEN })).toEqual([]);
});

test('a hundred wrong fields are answered with a bounded list', () => {
  const fields = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`f${i}`, i]));
  expect(build(Kind.get, fields).problems.length).toBeLessThanOrEqual(32);
});

/** Values that are sometimes right; the schemas and the hand-written checks must agree on each. */
const value = fc.oneof(
  fc.constantFrom<unknown>(
    0,
    1,
    999,
    1_000,
    30_000,
    86_400_000,
    86_400_001,
    1.5,
    -1,
    null,
    true,
    '',
    'exclusive',
    'shared',
    'semaphore',
    'strong',
    'cached',
    TOKEN,
    'x'.repeat(300),
    [],
    {},
    { a: 1 },
  ),
  fc.string({ maxLength: 30, unit: 'grapheme-ascii' }),
  fc.integer(),
);
const FIELDS = [
  'name',
  'ttlMs',
  'mode',
  'limit',
  'sessionId',
  'idempotencyKey',
  'waitMs',
  'lockDelayMs',
  'lockToken',
  'owner',
  'metadata',
  'fencingToken',
  'consistency',
  'other',
];
const someFields = fc
  .uniqueArray(fc.constantFrom(...FIELDS), { maxLength: 4 })
  .chain((names) => fc.record(Object.fromEntries(names.map((name) => [name, value]))));

test('bodies: the published schemas take what the parser takes, and nothing else', () => {
  const schemas = {
    [Kind.acquire]: acquireBody,
    [Kind.renew]: renewBody,
    [Kind.verify]: verifyBody,
    [Kind.sessionOpen]: sessionBody,
  };
  const kinds = fc.constantFrom(Kind.acquire, Kind.renew, Kind.verify, Kind.sessionOpen);
  const seen = { good: 0, bad: 0 };
  fc.assert(
    fc.property(kinds, someFields, (kind, given) => {
      // What the schema does not say: one of two tokens.
      const { fencingToken, lockToken } = given as Fields;
      if (kind === Kind.verify && (fencingToken !== undefined) === (lockToken !== undefined)) return;
      const builder = new OpBuilder();
      builder.begin(kind, '', ANYBODY);
      if (kind !== Kind.sessionOpen) builder.nameBytes(Buffer.from('a'), '');
      if (kind === Kind.renew) builder.token(TOKEN, '');
      builder.fields(given as Fields, Place.body, []);
      builder.end();
      const passes = builder.problems.length === 0;
      seen[passes ? 'good' : 'bad']++;
      expect(passes).toBe(schemas[kind].safeParse(given).success);
    }),
    { numRuns: 5_000 },
  );
  expect(seen.good).toBeGreaterThan(100);
  expect(seen.bad).toBeGreaterThan(100);
});

test('batch items: the published schema takes what the parser takes, and nothing else', () => {
  const seen = { good: 0, bad: 0 };
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(good)), someFields, fc.boolean(), (op, given, complete) => {
      const kind = KIND_NAMES.indexOf(op as (typeof KIND_NAMES)[number]);
      const fields: Fields = { op, ...(complete ? good[op] : {}), ...(given as Fields) };
      // What the schema does not say: names beyond their alphabet, one of two tokens.
      if (['.', '..'].includes(fields.name as string)) return;
      if (kind === Kind.verify && (fields.fencingToken !== undefined) === (fields.lockToken !== undefined))
        return;
      const passes = build(kind, fields, Place.item).problems.length === 0;
      seen[passes ? 'good' : 'bad']++;
      expect(passes).toBe(batchItem.safeParse(fields).success);
    }),
    { numRuns: 3_000 },
  );
  expect(seen.good).toBeGreaterThan(100);
  expect(seen.bad).toBeGreaterThan(100);
});

test('no JSON value whatever gets through as something else, or crashes', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.keys(ofSockets)),
      fc.dictionary(fc.constantFrom(...FIELDS), fc.jsonValue()),
      fc.constantFrom(ANYBODY, SOMEBODY),
      (op, given, caller) => {
        const kind = KIND_NAMES.indexOf(op as (typeof KIND_NAMES)[number]);
        const builder = build(kind, given, Place.socket, caller);
        if (builder.problems.length > 0) return;
        const length = builder.op.keyLength - builder.op.namespaceLength;
        if (op.startsWith('session.')) {
          expect(length).toBeGreaterThanOrEqual(17);
          return;
        }
        expect(typeof given.name).toBe('string');
        expect(length).toBe(Buffer.byteLength(given.name as string));
      },
    ),
    { numRuns: 2_000 },
  );
});
