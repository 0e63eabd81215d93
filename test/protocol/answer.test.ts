import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  Answer,
  ANSWER_HEAD_BYTES,
  AnswerBytes,
  CLAIM_EXPIRES_AT,
  CLAIM_WAITED_AT,
  HOLDER_EXPIRES_AT,
  readAnswer,
  readPlace,
  Section,
  STATE_HOLDER_EXPIRES_AT,
  VERDICT_EXPIRES_AT,
  writeAnswer,
} from '../../src/protocol/answer.ts';
import { ProtocolError } from '../../src/protocol/bytes.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const token = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const text = (maxLength: number) => fc.uint8Array({ maxLength });

/** Sections that can stand together: those that share fields never do. */
const sections = fc.constantFrom(
  0,
  Section.claim,
  Section.claim | Section.token,
  Section.claim | Section.labels,
  Section.claim | Section.token | Section.labels,
  Section.holder | Section.queue,
  Section.queue,
  Section.queue | Section.detail,
  Section.token,
  Section.state,
  Section.verdict,
  Section.detail,
);

const anyAnswer = fc
  .record({
    sections,
    id: u32,
    status: fc.integer({ min: 0, max: 999 }),
    code: fc.integer({ min: 0, max: 255 }),
    fencingToken: token,
    revision: token,
    ttlMs: u32,
    waitedMs: u32,
    expiresInMs: u32,
    queueLength: u32,
    retryAfterMs: u32,
    limit: fc.integer({ min: 0, max: 65_535 }),
    mode: fc.integer({ min: 0, max: 2 }),
    current: fc.boolean(),
    holderCount: fc.integer({ min: 0, max: 1 }),
    token: text(255),
    owner: text(700),
    session: text(255),
    metadata: text(1_200),
    detail: text(2_000),
  })
  .map(({ token, owner, session, metadata, detail, ...fields }) => {
    const answer = Object.assign(new Answer(), fields);
    const at = 3;
    const place = (bytes: Uint8Array) => Uint8Array.from([9, 9, 9, ...bytes, 9]);
    return Object.assign(answer, {
      tokenBytes: place(token),
      tokenAt: at,
      tokenLength: token.length,
      ownerBytes: place(owner),
      ownerAt: at,
      ownerLength: owner.length,
      sessionBytes: place(session),
      sessionAt: at,
      sessionLength: session.length,
      metadataBytes: place(metadata),
      metadataAt: at,
      metadataLength: metadata.length,
      detailBytes: place(detail),
      detailAt: at,
      detailLength: detail.length,
    });
  });

/** What an answer says, whatever bytes its texts lie in. */
function meaning(answer: Answer): object {
  const { sections } = answer;
  const bytes = (all: Uint8Array, at: number, length: number) =>
    Buffer.from(all.slice(at, at + length)).toString('hex');
  const owner = () => bytes(answer.ownerBytes, answer.ownerAt, answer.ownerLength);
  const { id, status, code, fencingToken, expiresInMs, mode, limit, queueLength } = answer;
  return {
    id,
    status,
    code,
    sections,
    ...(sections & Section.claim && { claim: [fencingToken, answer.ttlMs, answer.waitedMs, expiresInMs] }),
    ...(sections & Section.token && { token: bytes(answer.tokenBytes, answer.tokenAt, answer.tokenLength) }),
    ...(sections & Section.labels && {
      labels: [mode, limit, owner(), bytes(answer.sessionBytes, answer.sessionAt, answer.sessionLength)],
    }),
    ...(sections & Section.holder && { holder: [expiresInMs, fencingToken, mode, owner()] }),
    ...(sections & Section.queue && { queue: [queueLength, answer.retryAfterMs] }),
    ...(sections & Section.state && {
      state: [mode, limit, queueLength, answer.revision, answer.holderCount],
      ...(answer.holderCount > 0 && {
        place: [
          expiresInMs,
          fencingToken,
          owner(),
          bytes(answer.metadataBytes, answer.metadataAt, answer.metadataLength),
        ],
      }),
    }),
    ...(sections & Section.verdict && { verdict: [answer.current, fencingToken, expiresInMs] }),
    ...(sections & Section.detail && {
      detail: bytes(answer.detailBytes, answer.detailAt, answer.detailLength),
    }),
  };
}

test('answers that were written are read as they were, back to back', () => {
  fc.assert(
    fc.property(fc.array(anyAnswer, { maxLength: 8 }), (answers) => {
      const out = new AnswerBytes(new ArrayBuffer(16));
      const starts = answers.map((answer) => writeAnswer(out, answer));
      const read = new Answer();
      let at = 0;
      for (const [i, answer] of answers.entries()) {
        expect(at).toBe(starts[i]);
        at = readAnswer(out, at, read);
        expect(meaning(read)).toEqual(meaning(answer));
      }
      expect(at).toBe(out.length);
    }),
  );
});

test('every cut of an answer, and every byte behind it, is refused', () => {
  fc.assert(
    fc.property(anyAnswer, fc.nat(), (answer, cut) => {
      const out = new AnswerBytes();
      writeAnswer(out, answer);
      const { length } = out;
      out.length = cut % length;
      expect(() => readAnswer(out, 0, new Answer())).toThrow(ProtocolError);
      out.length = length;
      // The same bytes under a size that is one too small, or too large.
      out.view.setUint32(0, length - 1, true);
      expect(() => readAnswer(out, 0, new Answer())).toThrow(ProtocolError);
      out.ensure(1);
      out.length = length + 1;
      out.view.setUint32(0, length + 1, true);
      expect(() => readAnswer(out, 0, new Answer())).toThrow(ProtocolError);
    }),
  );
});

test('arbitrary bytes are an answer or a ProtocolError, never anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 200 }), fc.boolean(), (bytes, sized) => {
      const buffer = new ArrayBuffer(bytes.length);
      new Uint8Array(buffer).set(bytes);
      const source = new AnswerBytes(buffer, bytes.length);
      if (sized) source.view.setUint32(0, bytes.length, true);
      const answer = new Answer();
      try {
        expect(readAnswer(source, 0, answer)).toBeLessThanOrEqual(bytes.length);
        expect(answer.fencingToken).toBeLessThanOrEqual(Number.MAX_SAFE_INTEGER);
        expect(answer.ownerAt + answer.ownerLength).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('the times stand where they are patched', () => {
  const answer = new Answer();
  const patched = (sections: number, at: number): Answer => {
    const out = new AnswerBytes();
    writeAnswer(out, Object.assign(answer, { sections, expiresInMs: 1, waitedMs: 2, holderCount: 1 }));
    out.view.setUint32(at, 77, true);
    const read = new Answer();
    readAnswer(out, 0, read);
    return read;
  };
  expect(patched(Section.claim | Section.token | Section.labels, CLAIM_EXPIRES_AT)).toMatchObject({
    expiresInMs: 77,
    waitedMs: 2,
  });
  expect(patched(Section.claim, CLAIM_WAITED_AT)).toMatchObject({ expiresInMs: 1, waitedMs: 77 });
  expect(patched(Section.holder | Section.queue, HOLDER_EXPIRES_AT).expiresInMs).toBe(77);
  expect(patched(Section.state, STATE_HOLDER_EXPIRES_AT).expiresInMs).toBe(77);
  expect(patched(Section.verdict, VERDICT_EXPIRES_AT).expiresInMs).toBe(77);
});

test('a lock that is held has a holder, a free one has none', () => {
  for (const holderCount of [0, 1]) {
    const out = new AnswerBytes();
    writeAnswer(out, Object.assign(new Answer(), { sections: Section.state, holderCount }));
    out.bytes[ANSWER_HEAD_BYTES] ^= 1;
    expect(() => readAnswer(out, 0, new Answer())).toThrow(ProtocolError);
  }
});

test('a state may have many holders, which are read one by one', () => {
  const state = Buffer.alloc(18 + 2 * 18);
  state[0] = 1;
  state.writeUInt16LE(2, 16);
  for (const i of [0, 1]) {
    const at = 18 + i * 18;
    state.writeUInt32LE(100 + i, at);
    state.writeUInt32LE(7 + i, at + 4);
    state.writeUInt16LE(1, at + 13);
    state[at + 17] = 65 + i;
  }
  const head = Buffer.alloc(ANSWER_HEAD_BYTES);
  head.writeUInt32LE(ANSWER_HEAD_BYTES + state.length, 0);
  head[11] = Section.state;
  const all = Buffer.concat([head, state]);
  const source = new AnswerBytes(new Uint8Array(all).buffer, all.length);
  const answer = new Answer();
  expect(readAnswer(source, 0, answer)).toBe(all.length);
  expect([answer.holderCount, answer.fencingToken, answer.expiresInMs]).toEqual([2, 7, 100]);
  const second = readPlace(source, answer.placesAt, all.length, answer);
  readPlace(source, second, all.length, answer);
  expect([answer.fencingToken, answer.expiresInMs, answer.ownerBytes[answer.ownerAt]]).toEqual([8, 101, 66]);
});
