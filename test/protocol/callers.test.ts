/** JSON requests of callers, on sessions, with Idempotency-Keys, and by force. */
import { describe, expect, test } from 'vitest';
import { Kind, OpFlag } from '../../src/op.ts';
import { ANYBODY } from '../../src/protocol/caller.ts';
import { type Fields, Place } from '../../src/protocol/json-fields.ts';
import { OpBuilder } from '../../src/protocol/json-request.ts';
import { build, KEYED_TOKENS, PACKED, pointers, SOMEBODY, textOf, TOKEN } from './building.ts';

test('keys of locks and sessions begin with the namespace, and ops carry the principal', () => {
  const lock = build(Kind.acquire, { name: 'größe' }, Place.socket, SOMEBODY);
  expect(textOf(lock, lock.op.keyAt, lock.op.keyLength)).toBe('team-a\0größe');
  expect([lock.op.namespaceLength, lock.quotedName]).toEqual([7, '"größe"']);
  const inPath = build(Kind.get, {}, Place.body, SOMEBODY);
  expect(textOf(inPath, inPath.op.keyAt, inPath.op.keyLength)).toBe('team-a\0a');
  expect(inPath.quotedName).toBe('"a"');
  const session = build(Kind.sessionRenew, { sessionId: 's'.repeat(22) }, Place.socket, SOMEBODY);
  expect(textOf(session, session.op.keyAt, session.op.keyLength)).toBe(`team-a\0\x01${'s'.repeat(22)}`);
  for (const built of [lock, inPath, session]) {
    expect(textOf(built, built.op.principalAt, built.op.principalLength)).toBe('ci');
    expect(built.problems).toEqual([]);
  }
  const builder = lock;
  builder.begin(Kind.get, '', ANYBODY);
  builder.fields({ name: 'b' }, Place.socket, []);
  expect(builder.op).toMatchObject({ principalLength: 0, namespaceLength: 0, keyLength: 1 });
});

test('an op keeps nothing of the one before it', () => {
  const fields = {
    name: 'a',
    mode: 'shared',
    waitMs: 1,
    lockDelayMs: 1,
    sessionId: TOKEN,
    idempotencyKey: 'k',
  };
  const builder = build(Kind.acquire, fields, Place.socket, SOMEBODY);
  expect(builder.op.flags).toBe(OpFlag.full | OpFlag.keyed);
  builder.begin(Kind.acquire, '', ANYBODY);
  builder.fields({ name: 'a' }, Place.socket, []);
  builder.end(KEYED_TOKENS);
  expect([builder.op.isPlain, builder.op.flags, builder.sessionId]).toEqual([true, OpFlag.full, '']);
});

describe('sessions', () => {
  test('a session is opened with an id of the client or of the server', () => {
    const own = build(Kind.sessionOpen, { sessionId: TOKEN, ttlMs: 5_000, owner: 'me' });
    const { op } = own;
    expect([own.problems, op.ttlMs, own.sessionId]).toEqual([[], 5_000, TOKEN]);
    expect(op.bytes.subarray(op.keyAt, op.keyAt + op.keyLength)).toEqual(Buffer.from([1, ...PACKED]));
    expect(op.bytes.subarray(op.tokenAt, op.tokenAt + op.tokenLength)).toEqual(PACKED);
    expect(textOf(own, op.ownerAt, op.ownerLength)).toBe('me');
    const made = build(Kind.sessionOpen, {}, Place.socket, SOMEBODY);
    expect(made.sessionId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    const id = Buffer.from(made.sessionId.replaceAll('-', ''), 'hex');
    expect(made.op.bytes.subarray(made.op.tokenAt, made.op.tokenAt + 16)).toEqual(id);
    expect(made.op.bytes.subarray(made.op.keyAt, made.op.keyAt + made.op.keyLength)).toEqual(
      Buffer.concat([Buffer.from('team-a\0\x01'), id]),
    );
    expect(made.request()).toMatchObject({ quotedName: '', lockToken: '', sessionId: made.sessionId });
  });

  test('an id of the path', () => {
    const builder = new OpBuilder();
    builder.begin(Kind.sessionGet, '', ANYBODY);
    builder.session(TOKEN, 'path/id');
    builder.fields({}, Place.body, []);
    builder.end();
    expect([builder.problems, builder.op.keyLength, builder.op.tokenLength]).toEqual([[], 17, 0]);
    builder.begin(Kind.sessionEnd, '', ANYBODY);
    builder.session('short', 'path/id');
    builder.fields({ ttlMs: 5_000 }, Place.body, []);
    expect(builder.problems.map(({ pointer }) => pointer)).toEqual(['path/id', '/ttlMs']);
  });

  test.each<[string, Fields]>([
    ['sessionId', { sessionId: 'short' }],
    ['sessionId', { sessionId: 'sixteen-letters!' }],
    ['sessionId', { sessionId: null }],
    ['ttlMs', { ttlMs: 999 }],
    ['owner', { owner: 7 }],
    ['name', { name: 'a' }],
    ['metadata', { metadata: {} }],
  ])('a wrong %s is pointed at: %j', (field, wrong) => {
    expect(pointers(Kind.sessionOpen, wrong)).toEqual([`/${field}`]);
  });
});

describe('Idempotency-Key', () => {
  const keyOf = (header: string): OpBuilder => {
    const builder = new OpBuilder();
    builder.begin(Kind.acquire, '', SOMEBODY);
    builder.nameBytes(Buffer.from('a'), 'path/name');
    builder.idempotencyKeyHeader(header);
    builder.fields({}, Place.body, []);
    builder.end(KEYED_TOKENS);
    return builder;
  };

  test('the same key is the same token, in a header, an item of a batch and a frame', () => {
    const expected = Buffer.from(
      KEYED_TOKENS.token(Buffer.from('ci'), Buffer.from('team-a\0a'), Buffer.from('job "7" \\')),
    );
    const fields = { name: 'a', idempotencyKey: 'job "7" \\' };
    for (const built of [
      keyOf('"job \\"7\\" \\\\"'),
      build(Kind.acquire, fields, Place.item, SOMEBODY),
      build(Kind.acquire, fields, Place.socket, SOMEBODY),
    ]) {
      const { op } = built;
      expect(built.problems).toEqual([]);
      expect(op.flags).toBe(OpFlag.full | OpFlag.keyed);
      expect(op.bytes.subarray(op.tokenAt, op.tokenAt + op.tokenLength)).toEqual(expected);
      expect(built.lockToken.replaceAll('-', '')).toBe(expected.toString('hex'));
    }
  });

  test.each([
    '',
    'job',
    '"',
    '""',
    '"a',
    'a"',
    '"a"b"',
    '"\\a"',
    '"é"',
    '"a\n"',
    `"${'x'.repeat(256)}"`,
    '"a";b',
  ])('a header %j is pointed at', (header) => {
    expect(keyOf(header).problems.map(({ pointer }) => pointer)).toEqual(['header/Idempotency-Key']);
  });

  test('the longest key, and fields that are none', () => {
    expect(keyOf(`"${'x'.repeat(255)}"`).problems).toEqual([]);
    for (const idempotencyKey of ['', 'x'.repeat(256), 'a\nb', 7, null, '\ud800'])
      expect(pointers(Kind.acquire, { name: 'a', idempotencyKey })).toEqual(['/idempotencyKey']);
    expect(pointers(Kind.renew, { name: 'a', lockToken: TOKEN, idempotencyKey: 'k' })).toEqual([
      '/idempotencyKey',
    ]);
    expect(pointers(Kind.acquire, { idempotencyKey: 'k' }, Place.body)).toEqual(['/idempotencyKey']);
  });

  test('not beside a lock token, and not without the secret', () => {
    const both = { name: 'a', lockToken: TOKEN, idempotencyKey: 'k' };
    expect(pointers(Kind.acquire, both)).toEqual(['/idempotencyKey']);
    const builder = new OpBuilder();
    builder.begin(Kind.acquire, '', ANYBODY);
    builder.fields({ name: 'a', idempotencyKey: 'k' }, Place.item, []);
    builder.end();
    expect(builder.problems.map(({ pointer }) => pointer)).toEqual(['/idempotencyKey']);
  });
});

describe('a forced release', () => {
  const force = (given: Record<string, string>): OpBuilder => {
    const builder = new OpBuilder();
    builder.begin(Kind.force, '', ANYBODY);
    builder.nameBytes(Buffer.from('a'), 'path/name');
    builder.force(new Map(Object.entries(given)));
    builder.fields({}, Place.body, []);
    builder.end();
    return builder;
  };

  test('of all holders, or of one', () => {
    const all = force({ force: 'true', reason: 'the größe is stuck' });
    expect([all.problems, all.op.fencingToken]).toEqual([[], 0]);
    expect(textOf(all, all.op.metadataAt, all.op.metadataLength)).toBe('the größe is stuck');
    expect(force({ force: 'true', reason: 'r', fencingToken: '42' }).op.fencingToken).toBe(42);
  });

  test.each<[string, Record<string, string>]>([
    ['force', { reason: 'r' }],
    ['force', { force: 'false', reason: 'r' }],
    ['force', { force: '', reason: 'r' }],
    ['reason', { force: 'true' }],
    ['reason', { force: 'true', reason: '' }],
    ['reason', { force: 'true', reason: 'a\nb' }],
    ['reason', { force: 'true', reason: 'é'.repeat(129) }],
    ['fencingToken', { force: 'true', reason: 'r', fencingToken: '0' }],
    ['fencingToken', { force: 'true', reason: 'r', fencingToken: '' }],
    ['fencingToken', { force: 'true', reason: 'r', fencingToken: '1e3' }],
    ['fencingToken', { force: 'true', reason: 'r', fencingToken: '9007199254740992' }],
    ['fencingToken', { force: 'true', reason: 'r', fencingToken: '-1' }],
  ])('a wrong %s is pointed at: %j', (parameter, given) => {
    expect(force(given).problems.map(({ pointer }) => pointer)).toEqual([`query/${parameter}`]);
  });
});
