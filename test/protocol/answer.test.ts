import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import {
  addPlace,
  Answer,
  ANSWER_HEAD_BYTES,
  ANSWER_ID_AT,
  ANSWER_STATUS_AT,
  AnswerBytes,
  beginStateAnswer,
  CLAIM_EXPIRES_AT,
  CLAIM_WAITED_AT,
  endAnswer,
  Event,
  FINAL_STATUS_MIN,
  HOLDER_EXPIRES_AT,
  placeExpiresAt,
  readAnswer,
  readPlace,
  Section,
  STATE_HOLDER_EXPIRES_AT,
  VERDICT_EXPIRES_AT,
  writeAnswer,
} from '../../src/protocol/answer.ts';
import { ProtocolError } from '../../src/protocol/bytes.ts';
import { addSessionSlot, readSessionSlots } from '../../src/protocol/session-slots.ts';

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
  Section.claim | Section.detail,
  Section.claim | Section.token | Section.labels | Section.detail,
  Section.claim | Section.queue,
  Section.token | Section.detail,
  Section.holder | Section.detail,
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

const holder = fc.record({
  expiresInMs: u32,
  fencingToken: token,
  owner: text(256),
  metadata: text(1_024),
});

function setHolder(answer: Answer, { expiresInMs, fencingToken, owner, metadata }: HolderOf): void {
  Object.assign(answer, { expiresInMs, fencingToken, ownerBytes: owner, ownerLength: owner.length });
  Object.assign(answer, { metadataBytes: metadata, metadataLength: metadata.length });
}
type HolderOf = typeof holder extends fc.Arbitrary<infer T> ? T : never;

/** Appends a state of these holders; returns the places. */
function writeHolders(out: AnswerBytes, answer: Answer, holders: readonly HolderOf[]): number[] {
  answer.holderCount = holders.length;
  const start = beginStateAnswer(out, answer);
  const places = holders.map((one) => {
    setHolder(answer, one);
    return addPlace(out, answer);
  });
  expect(endAnswer(out, start)).toBe(start);
  return places;
}

test('a state of any number of holders is read as it was written, one by one, between other answers', () => {
  fc.assert(
    fc.property(fc.array(holder, { maxLength: 20 }), fc.integer({ min: 0, max: 2 }), (holders, mode) => {
      const out = new AnswerBytes(new ArrayBuffer(16));
      const answer = Object.assign(new Answer(), {
        status: 200,
        mode,
        limit: 20,
        queueLength: 7,
        revision: 9,
      });
      writeAnswer(out, answer);
      const start = out.length;
      const places = writeHolders(out, Object.assign(answer, { id: 5, status: Event.changed }), holders);
      writeAnswer(out, Object.assign(answer, { id: 6, sections: 0 }));
      for (const place of places) out.view.setUint32(placeExpiresAt(place), 77, true);
      const read = new Answer();
      const next = readAnswer(out, start, read);
      expect(read).toMatchObject({
        id: 5,
        status: 101,
        code: 0,
        mode,
        limit: 20,
        queueLength: 7,
        revision: 9,
      });
      expect([read.holderCount, read.placesAt]).toEqual([holders.length, start + 30]);
      let at = read.placesAt;
      for (const one of holders) {
        at = readPlace(out, at, next, read);
        expect(read).toMatchObject({ expiresInMs: 77, fencingToken: one.fencingToken, mode });
        expect(read.ownerBytes.slice(read.ownerAt, read.ownerAt + read.ownerLength)).toEqual(one.owner);
        expect(read.metadataLength).toBe(one.metadata.length);
      }
      expect(at).toBe(next);
      readAnswer(out, next, read);
      expect(read.id).toBe(6);
    }),
  );
});

test('one holder is written the same by both ways', () => {
  fc.assert(
    fc.property(anyAnswer, (given) => {
      const state = Object.assign(given, { sections: Section.state });
      const [whole, stepwise] = [new AnswerBytes(), new AnswerBytes()];
      writeAnswer(whole, state);
      const start = beginStateAnswer(stepwise, state);
      if (state.holderCount > 0) addPlace(stepwise, state);
      endAnswer(stepwise, start);
      expect(stepwise.bytes.slice(0, stepwise.length)).toEqual(whole.bytes.slice(0, whole.length));
    }),
  );
});

test('ten thousand holders fit, the last of them without metadata', () => {
  const out = new AnswerBytes();
  const one = {
    expiresInMs: 1,
    fencingToken: 2,
    owner: new Uint8Array(256),
    metadata: new Uint8Array(1_024),
  };
  writeHolders(
    out,
    new Answer(),
    Array.from({ length: LIMITS.holdersMax }, () => one),
  );
  const answer = new Answer();
  const end = readAnswer(out, 0, answer);
  const lengths: number[] = [];
  for (let at = answer.placesAt; at < end; at = readPlace(out, at, end, answer)) {
    readPlace(out, at, end, answer);
    lengths.push(answer.metadataLength);
  }
  const told = lengths.indexOf(0);
  expect(told).toBe(Math.ceil(LIMITS.statePlacesBytesMax / (17 + 256 + 1_024)));
  expect(lengths.slice(told).every((length) => length === 0)).toBe(true);
  expect(lengths.length).toBe(LIMITS.holdersMax);
});

test('what is not final can be told unread', () => {
  const out = new AnswerBytes();
  for (const status of [...Object.values(Event), 200, 201, 409]) {
    const start = writeAnswer(out, Object.assign(new Answer(), { id: status * 7, status }));
    expect(out.view.getUint16(start + ANSWER_STATUS_AT, true) < FINAL_STATUS_MIN).toBe(status < 200);
    expect(out.view.getUint32(start + ANSWER_ID_AT, true)).toBe(status * 7);
  }
});

test('the slots of a session travel in the detail', () => {
  const slot = fc.record({ slot: fc.integer({ min: 0, max: 65_535 }), state: fc.constantFrom(0, 1) });
  fc.assert(
    fc.property(fc.array(slot, { maxLength: 50 }), (slots) => {
      const detail = new AnswerBytes(new ArrayBuffer(1));
      for (const one of slots) addSessionSlot(detail, one.slot, one.state);
      const out = new AnswerBytes();
      const sections = Section.claim | Section.detail;
      const { bytes, length } = detail;
      writeAnswer(out, Object.assign(new Answer(), { sections, detailBytes: bytes, detailLength: length }));
      const read = new Answer();
      readAnswer(out, 0, read);
      expect(readSessionSlots(read)).toEqual(slots);
      if (slots.length === 0) return;
      read.detailLength--;
      expect(() => readSessionSlots(read)).toThrow(ProtocolError);
      read.detailLength++;
      out.bytes[read.detailAt + 2] = 2;
      expect(() => readSessionSlots(read)).toThrow(ProtocolError);
    }),
  );
});
