import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CODES, type ErrorCode } from '../../src/errors.ts';
import { Kind } from '../../src/op.ts';
import {
  addPlace,
  Answer,
  AnswerBytes,
  beginStateAnswer,
  endAnswer,
  Event,
  readAnswer,
  Section,
  writeAnswer,
} from '../../src/protocol/answer.ts';
import {
  detailOf,
  renderFault,
  renderOutcome,
  renderProblem,
  renderUnknown,
} from '../../src/protocol/json-answer.ts';
import { renderChanged, renderPush, renderQueued } from '../../src/protocol/json-event.ts';
import type { JsonRequest } from '../../src/protocol/json-request.ts';
import { claim, lockState, problem, released, session, verdict } from '../../src/protocol/schemas.ts';

const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';

const REQUEST: JsonRequest = { kind: 0, quotedName: '"the \\"lock\\""', lockToken: TOKEN, sessionId: '' };
const SESSION_REQUEST: JsonRequest = { kind: 0, quotedName: '', lockToken: '', sessionId: TOKEN };

function rendered(
  kind: number,
  fields: Partial<Answer>,
  owner = '',
  metadata = '',
  request = REQUEST,
): unknown {
  const answer = Object.assign(new Answer(), { status: 200, ...fields });
  answer.ownerBytes = Buffer.from(owner);
  answer.ownerLength = answer.ownerBytes.length;
  answer.metadataBytes = Buffer.from(metadata);
  answer.metadataLength = answer.metadataBytes.length;
  const out = new AnswerBytes();
  writeAnswer(out, answer);
  const read = new Answer();
  readAnswer(out, 0, read);
  return JSON.parse(`{${renderOutcome(out, read, { ...request, kind })}}`);
}

test('a claim', () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 80 }),
      fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      (owner, fencingToken) => {
        const { claim: at, labels } = Section;
        const body = rendered(
          Kind.acquire,
          { sections: at | labels, fencingToken, ttlMs: 5_000, expiresInMs: 4_999, waitedMs: 3 },
          owner,
        );
        expect(body).toEqual({
          name: 'the "lock"',
          lockToken: TOKEN,
          fencingToken,
          mode: 'exclusive',
          ...(owner !== '' && { owner: Buffer.from(owner).toString() }),
          ttlMs: 5_000,
          expiresInMs: 4_999,
          waitedMs: 3,
        });
        claim.parse(body);
      },
    ),
  );
});

test('a state, held and free', () => {
  const held = rendered(
    Kind.get,
    { sections: Section.state, holderCount: 1, fencingToken: 9, expiresInMs: 0, revision: 12 },
    'me',
    '{"a":1}',
  );
  expect(held).toEqual({
    name: 'the "lock"',
    held: true,
    mode: 'exclusive',
    holders: [{ owner: 'me', fencingToken: 9, mode: 'exclusive', expiresInMs: 0, metadata: { a: 1 } }],
    queueLength: 0,
    revision: 12,
    source: 'shard',
    ageMs: 0,
  });
  const free = rendered(Kind.get, { sections: Section.state });
  expect(free).toMatchObject({ held: false, holders: [], revision: 0 });
  expect(free).not.toHaveProperty('mode');
  lockState.parse(held);
  lockState.parse(free);
});

test('a verdict', () => {
  const yes = rendered(Kind.verify, {
    sections: Section.verdict,
    current: true,
    fencingToken: 4,
    expiresInMs: 10,
  });
  expect(yes).toEqual({ current: true, fencingToken: 4, expiresInMs: 10 });
  expect(rendered(Kind.verify, { sections: Section.verdict, current: false })).toEqual({ current: false });
  verdict.parse(yes);
});

test('a release says nothing', () => {
  expect(rendered(Kind.release, { status: 204 })).toEqual({});
});

test('a held lock tells its holder and when to come back', () => {
  const sections = Section.holder | Section.queue;
  const { wire, status } = CODES.lock_held;
  const fields = { sections, code: wire, status, fencingToken: 5, expiresInMs: 100, retryAfterMs: 250 };
  const body = rendered(Kind.acquire, fields, 'x"y');
  expect(body).toMatchObject({
    code: 'lock_held',
    retryable: true,
    holder: { owner: 'x"y', fencingToken: 5, mode: 'exclusive', expiresInMs: 100 },
    queueLength: 0,
    retryAfterMs: 250,
  });
  expect(JSON.stringify(body)).not.toContain(TOKEN);
});

test('an unknown outcome carries the token or the id of the session, other errors never do', () => {
  for (const code of Object.keys(CODES) as ErrorCode[]) {
    const { wire, status } = CODES[code];
    const body = rendered(Kind.acquire, { code: wire, status }) as { lockToken?: string };
    expect(body).toMatchObject({ code, retryable: CODES[code].retryable, detail: detailOf(code) });
    expect(body.lockToken).toBe(code === 'outcome_unknown' ? TOKEN : undefined);
    const text = JSON.stringify(rendered(Kind.sessionOpen, { code: wire, status }, '', '', SESSION_REQUEST));
    expect(text.includes(`"sessionId":"${TOKEN}"`)).toBe(code === 'outcome_unknown');
  }
  const unknown = JSON.parse(`{${renderUnknown({ ...SESSION_REQUEST, kind: Kind.sessionEnd })}}`) as unknown;
  expect(unknown).toMatchObject({ code: 'outcome_unknown', retryable: true, sessionId: TOKEN });
});

test('every code says what happened in a sentence of its own', () => {
  const details = (Object.keys(CODES) as ErrorCode[]).map(detailOf);
  expect(new Set(details).size).toBe(details.length);
  for (const detail of details) expect(detail).toMatch(/^[A-Z].*[.>]$/);
});

test('a wait that was too long tells what a held lock tells', () => {
  const { wire, status } = CODES.wait_timeout;
  const fields = { code: wire, status, fencingToken: 5, expiresInMs: 100, mode: 1, queueLength: 3 };
  const held = { ...fields, sections: Section.holder | Section.queue, retryAfterMs: 250 };
  expect(rendered(Kind.acquire, held, 'x')).toMatchObject({
    code: 'wait_timeout',
    retryable: true,
    holder: { owner: 'x', fencingToken: 5, mode: 'shared', expiresInMs: 100 },
    queueLength: 3,
    retryAfterMs: 250,
  });
  const unheld = rendered(Kind.acquire, { ...fields, sections: Section.queue });
  expect(unheld).toMatchObject({ queueLength: 3 });
  expect(unheld).not.toHaveProperty('holder');
  expect(unheld).not.toHaveProperty('retryAfterMs');
});

test('a full queue tells its length; codes without a queue tell none', () => {
  const body = (code: ErrorCode) => {
    const { wire, status } = CODES[code];
    return rendered(Kind.acquire, { code: wire, status, sections: Section.queue, queueLength: 1_000 });
  };
  expect(body('queue_full')).toMatchObject({ queueLength: 1_000 });
  expect(body('overloaded')).not.toHaveProperty('queueLength');
});

test('a conflict of modes says what is in force', () => {
  const { wire, status } = CODES.mode_conflict;
  const detailBytes = Buffer.from('The lock is in use as a semaphore with limit 3.');
  const fields = { code: wire, status, sections: Section.holder | Section.detail, mode: 2, fencingToken: 1 };
  expect(rendered(Kind.acquire, { ...fields, detailBytes, detailLength: detailBytes.length })).toMatchObject({
    code: 'mode_conflict',
    retryable: false,
    detail: 'The lock is in use as a semaphore with limit 3.',
    holder: { mode: 'semaphore' },
  });
});

test('a claim of a semaphore and of a session', () => {
  const fields = {
    sections: Section.claim | Section.labels,
    mode: 2,
    limit: 3,
    fencingToken: 1,
    ttlMs: 5_000,
  };
  const session = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
  const body = rendered(Kind.acquire, { ...fields, sessionBytes: session, sessionLength: 16 });
  expect(body).toMatchObject({ mode: 'semaphore', limit: 3, sessionId: TOKEN });
  claim.parse(body);
  const named = Buffer.from('my-session-of-22-letters');
  expect(
    rendered(Kind.acquire, { ...fields, sessionBytes: named, sessionLength: named.length }),
  ).toMatchObject({ sessionId: 'my-session-of-22-letters' });
});

test('a state of many holders', () => {
  const out = new AnswerBytes();
  const answer = Object.assign(new Answer(), {
    mode: 2,
    limit: 5,
    queueLength: 4,
    revision: 8,
    holderCount: 3,
  });
  const start = beginStateAnswer(out, answer);
  for (const i of [1, 2, 3]) {
    const ownerBytes = Buffer.from(`owner ${i}`);
    Object.assign(answer, {
      ownerBytes,
      ownerLength: ownerBytes.length,
      fencingToken: i,
      expiresInMs: 10 * i,
    });
    addPlace(out, answer);
  }
  endAnswer(out, start);
  const read = new Answer();
  readAnswer(out, 0, read);
  const body = JSON.parse(`{${renderOutcome(out, read, { ...REQUEST, kind: Kind.get })}}`) as unknown;
  const holders = [1, 2, 3].map((i) => ({
    owner: `owner ${i}`,
    fencingToken: i,
    mode: 'semaphore',
    expiresInMs: 10 * i,
  }));
  expect(body).toMatchObject({
    held: true,
    mode: 'semaphore',
    limit: 5,
    holders,
    queueLength: 4,
    revision: 8,
  });
  lockState.parse(body);
  readAnswer(out, 0, read);
  const changed = JSON.parse(renderChanged(out, read, '"a"')) as object;
  expect(changed).toEqual({ event: 'changed', ...(body as object), name: 'a' });
});

test('a lock that only waiters use tells how', () => {
  const state = rendered(Kind.get, { sections: Section.state, mode: 1, queueLength: 2 });
  expect(state).toMatchObject({ held: false, mode: 'shared', holders: [], queueLength: 2 });
});

test('a forced release tells how many claims it ended', () => {
  const body = rendered(Kind.force, { sections: Section.queue, queueLength: 2 });
  expect(released.parse(body)).toEqual({ released: 2 });
});

test('sessions', () => {
  const times = { ttlMs: 5_000, expiresInMs: 4_999, waitedMs: 3 };
  const told = (kind: number, labels = 0) =>
    rendered(
      kind,
      { ...times, sections: Section.claim | Section.detail | labels },
      'me',
      '',
      SESSION_REQUEST,
    );
  for (const kind of [Kind.sessionOpen, Kind.sessionRenew]) {
    expect(told(kind)).toEqual({ sessionId: TOKEN, ...times });
    session.parse(told(kind));
  }
  expect(session.parse(told(Kind.sessionGet, Section.labels))).toEqual({
    sessionId: TOKEN,
    owner: 'me',
    ...times,
  });
  expect(rendered(Kind.sessionEnd, { sections: Section.detail })).toEqual({});
  const { wire, status } = CODES.shard_unavailable;
  const failed = { code: wire, status, expiresInMs: 1_234, sections: Section.claim | Section.queue };
  expect(rendered(Kind.sessionRenew, failed)).toMatchObject({
    code: 'shard_unavailable',
    expiresInMs: 1_234,
  });
});

test('a request that waits, by an id of either form', () => {
  const answer = Object.assign(new Answer(), { status: Event.queued, queueLength: 3 });
  expect(JSON.parse(renderQueued(answer, '7'))).toEqual({ event: 'queued', id: 7, position: 3 });
  expect(JSON.parse(renderQueued(answer, '"a\\""'))).toEqual({ event: 'queued', id: 'a"', position: 3 });
});

test('claims that are lost or contended', () => {
  const push = (status: number, token = Buffer.from(TOKEN.replaceAll('-', ''), 'hex')) => {
    const detailBytes = Buffer.from('größe "1"');
    const fields = { status, sections: Section.token | Section.detail, tokenBytes: token, detailBytes };
    const lengths = { tokenLength: token.length, detailLength: detailBytes.length };
    const out = new AnswerBytes();
    writeAnswer(out, Object.assign(new Answer(), fields, lengths));
    const read = new Answer();
    readAnswer(out, 0, read);
    return renderPush(read);
  };
  const lost = { event: 'lost', name: 'größe "1"', lockToken: TOKEN };
  expect(JSON.parse(push(Event.expired))).toEqual({ ...lost, reason: 'expired' });
  expect(JSON.parse(push(Event.forced))).toEqual({ ...lost, reason: 'forced' });
  expect(JSON.parse(push(Event.sessionEnded))).toEqual({ ...lost, reason: 'session_ended' });
  expect(JSON.parse(push(Event.contended))).toEqual({ event: 'contended', name: 'größe "1"' });
  const named = Buffer.from('t'.repeat(22));
  expect(JSON.parse(push(Event.expired, named))).toMatchObject({ lockToken: 't'.repeat(22) });
  expect(push(Event.queued)).toBe('');
  expect(renderPush(Object.assign(new Answer(), { status: Event.expired }))).toBe('');
});

test('a code that was never given is a defect', () => {
  expect(rendered(Kind.get, { code: 250, status: 999 })).toMatchObject({ code: 'internal' });
});

test('a detail that the answer brings is shown, whatever it holds', () => {
  const detailBytes = Buffer.from('a "quoted" \u2028 detail');
  const body = rendered(Kind.get, {
    code: 1,
    status: 400,
    sections: Section.detail,
    detailBytes,
    detailLength: detailBytes.length,
  });
  expect(body).toMatchObject({ detail: 'a "quoted" \u2028 detail' });
});

test('problem documents', () => {
  const fault = {
    code: 'bad_request',
    detail: 'x"',
    problems: [{ pointer: '/a', detail: 'b' }],
    retryAfterMs: 0,
  } as const;
  const body = JSON.parse(renderProblem(renderFault(fault), 'bad_request', 'r-1')) as unknown;
  expect(problem.parse(body)).toEqual({
    type: 'urn:holdfast:error:bad_request',
    title: CODES.bad_request.title,
    status: 400,
    code: 'bad_request',
    retryable: false,
    detail: 'x"',
    errors: [{ pointer: '/a', detail: 'b' }],
    requestId: 'r-1',
  });
});
