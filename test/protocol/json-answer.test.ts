import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CODES, type ErrorCode } from '../../src/errors.ts';
import { Kind } from '../../src/op.ts';
import { Answer, AnswerBytes, readAnswer, Section, writeAnswer } from '../../src/protocol/answer.ts';
import { detailOf, renderFault, renderOutcome, renderProblem } from '../../src/protocol/json-answer.ts';
import { claim, lockState, problem, verdict } from '../../src/protocol/schemas.ts';

const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';

function rendered(kind: number, fields: Partial<Answer>, owner = '', metadata = ''): unknown {
  const answer = Object.assign(new Answer(), { status: 200, ...fields });
  answer.ownerBytes = Buffer.from(owner);
  answer.ownerLength = answer.ownerBytes.length;
  answer.metadataBytes = Buffer.from(metadata);
  answer.metadataLength = answer.metadataBytes.length;
  const out = new AnswerBytes();
  writeAnswer(out, answer);
  const read = new Answer();
  readAnswer(out, 0, read);
  return JSON.parse(
    `{${renderOutcome(out, read, { kind, quotedName: '"the \\"lock\\""', lockToken: TOKEN, sessionId: TOKEN })}}`,
  );
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

test('an unknown outcome carries the token, other errors never do', () => {
  for (const code of Object.keys(CODES) as ErrorCode[]) {
    const { wire, status } = CODES[code];
    const body = rendered(Kind.acquire, { code: wire, status });
    expect(body).toMatchObject({ code, retryable: CODES[code].retryable, detail: detailOf(code) });
    expect((body as { lockToken?: string }).lockToken).toBe(code === 'outcome_unknown' ? TOKEN : undefined);
  }
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
