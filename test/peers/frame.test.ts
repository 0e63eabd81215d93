import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { Op, OpFlag } from '../../src/op.ts';
import {
  countAnswers,
  FrameReader,
  FrameWriter,
  NO_FORWARD,
  readNotOwner,
  readPong,
  writeNotOwner,
  writePong,
} from '../../src/peers/frame.ts';
import { Answer, AnswerBytes, readAnswer, Section } from '../../src/protocol/answer.ts';
import { writeRefusal } from '../../src/protocol/refusal.ts';
import { fitting, NOTHING, opOf, SIMPLE, SLOTS, textOf, u32, type Wish, wish } from './wishes.ts';

const wantedSlots = fc
  .uniqueArray(fc.integer({ min: 0, max: SLOTS - 1 }), { maxLength: 50 })
  .map((slots) => Uint16Array.from(slots).sort());

function frameOf(wishes: readonly Wish[], wanted?: Uint16Array): Uint8Array<ArrayBuffer> {
  const writer = new FrameWriter();
  for (const one of wishes) writer.add(one.term, opOf(one), one.id, one.waitedMs);
  return Uint8Array.from(writer.seal(3, 12.5, wanted));
}

/** What a reader makes of a frame; undefined: malformed. */
function readAll(
  frame: Uint8Array<ArrayBuffer>,
): { term: string; waitedMs: number; text: string }[] | undefined {
  const reader = new FrameReader(SLOTS);
  const op = new Op();
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (!reader.begin(frame, view, op)) return undefined;
  const all = [];
  while (reader.next(op)) {
    const moreEnd = op.isPlain ? 0 : op.batchAt + op.batchLength;
    for (const end of [op.keyAt + op.keyLength, op.metadataAt + op.metadataLength, moreEnd])
      expect(end).toBeLessThanOrEqual(frame.length);
    expect(op.slot).toBeLessThan(SLOTS);
    all.push({ term: reader.term, waitedMs: op.receivedAt, text: textOf(op) });
  }
  expect(all.length).toBe(reader.count);
  const { wanted = new Uint16Array(0) } = reader;
  for (const [i, slot] of wanted.entries()) {
    expect(slot).toBeLessThan(SLOTS);
    if (i > 0) expect(slot).toBeGreaterThan(wanted[i - 1]);
  }
  return all;
}

test('forwards that were written are read as they were, in order for each term', () => {
  const writer = new FrameWriter();
  fc.assert(
    fc.property(
      fc.array(wish, { maxLength: 20 }),
      u32,
      fc.double({ noNaN: true }),
      fc.option(wantedSlots, { nil: undefined }),
      (wishes, seen, sentAt, wanted) => {
        for (const one of wishes) {
          const op = opOf(one);
          const before = textOf(op);
          writer.add(one.term, op, one.id, one.waitedMs);
          expect(textOf(op)).toBe(before);
        }
        expect(writer.length > 0).toBe(wishes.length > 0);
        const frame = Uint8Array.from(writer.seal(seen, sentAt, wanted));
        expect(writer.length).toBe(0);
        const reader = new FrameReader(SLOTS);
        expect(reader.begin(frame, new DataView(frame.buffer), new Op())).toBe(true);
        expect([reader.seenRefusals, reader.sentAt, reader.count]).toEqual([seen, sentAt, wishes.length]);
        expect(reader.wanted).toEqual(wanted);
        const terms = [...new Set(wishes.map(({ term }) => term))];
        const expected = terms.flatMap((term) => wishes.filter((one) => one.term === term));
        expect(readAll(frame)).toEqual(
          expected.map((one) => ({ term: one.term, waitedMs: one.waitedMs, text: textOf(opOf(one)) })),
        );
      },
    ),
  );
});

test('what waited for a fraction or longer than fits is never told as more than it was', () => {
  const waited = (ms: number): number => {
    const writer = new FrameWriter();
    writer.add('00112233445566aa', opOf(fitting({ ...SIMPLE })), 1, ms);
    return readAll(Uint8Array.from(writer.seal(0, 0)))![0].waitedMs;
  };
  expect([waited(1.99), waited(-5), waited(0xffff_ffff * 2)]).toEqual([1, 0, 0xffff_ffff]);
});

describe('a malformed frame is refused as a whole', () => {
  test('every truncation, unless it ends where a group does', () => {
    fc.assert(
      fc.property(fc.array(wish, { minLength: 1, maxLength: 4 }), wantedSlots, (wishes, wanted) => {
        const frame = frameOf(wishes, wanted.length % 2 === 0 ? wanted : undefined);
        const whole = readAll(frame)!;
        const ends = new Set<number>([12]);
        const view = new DataView(frame.buffer);
        for (let at = 12; at < frame.length;) ends.add((at += 12 + view.getUint32(at + 8, true)));
        for (let length = 0; length < frame.length; length++) {
          const read = readAll(frame.slice(0, length));
          if (ends.has(length)) expect(read).toEqual(whole.slice(0, read!.length));
          else expect(read).toBeUndefined();
        }
      }),
      { numRuns: 30 },
    );
  });

  test('every bit flip is refused or gives ops that lie within the frame', () => {
    fc.assert(
      fc.property(fc.array(wish, { minLength: 1, maxLength: 3 }), wantedSlots, (wishes, wanted) => {
        const frame = frameOf(wishes, wanted);
        for (let bit = 0; bit < frame.length * 8; bit++) {
          frame[bit >> 3] ^= 1 << (bit & 7);
          const read = readAll(frame);
          if (read !== undefined && bit >= 12 * 8) expect(read.length).toBeGreaterThan(0);
          frame[bit >> 3] ^= 1 << (bit & 7);
        }
      }),
      { numRuns: 5 },
    );
  });

  test('arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void readAll(Uint8Array.from(bytes))),
      { numRuns: 2_000 },
    );
  });

  test.each<[string, readonly number[], ((frame: Uint8Array, view: DataView) => void)?]>([
    ['a wanted slot that the cluster has not', [5, SLOTS]],
    ['a wanted slot twice', [5, 5]],
    ['wanted slots that fall', [6, 5]],
    ['wanted slots past the end', [5, 6], (frame, view) => view.setUint32(20, frame.length - 22, true)],
    ['wanted slots that are fewer than they say', [5, 6], (_, view) => view.setUint32(20, 6, true)],
  ])('%s', (_, slots, spoil = () => {}) => {
    const spoiltFrame = (wishes: readonly Wish[]): unknown => {
      const frame = frameOf(wishes, Uint16Array.from(slots));
      spoil(frame, new DataView(frame.buffer));
      return readAll(frame);
    };
    expect(readAll(frameOf([SIMPLE], Uint16Array.of(5, 6)))).toHaveLength(1);
    expect(spoiltFrame([])).toBeUndefined();
    expect(spoiltFrame([SIMPLE])).toBeUndefined();
  });

  test('half a wanted slot', () => {
    const frame = Uint8Array.from([...frameOf([], Uint16Array.of()), 0]);
    frame[20] = 1;
    expect(readAll(frame)).toBeUndefined();
  });

  test('the term of wanted slots anywhere but at the beginning', () => {
    const misplaced = [
      frameOf([], Uint16Array.of(5, 6)).slice(12),
      frameOf([{ ...SIMPLE, term: 'f'.repeat(16) }]).slice(12),
    ];
    for (const before of [frameOf([SIMPLE]), frameOf([], Uint16Array.of(5))]) {
      expect(readAll(before)).toBeDefined();
      for (const group of misplaced) expect(readAll(Uint8Array.from([...before, ...group]))).toBeUndefined();
    }
  });

  const spoilt = (
    given: Partial<Wish>,
    spoil: (frame: Uint8Array, view: DataView) => void = () => {},
  ): boolean => {
    const frame = frameOf([{ ...SIMPLE, ...given }]);
    spoil(frame, new DataView(frame.buffer));
    return readAll(frame) === undefined;
  };
  const REQUEST = 12 + 12 + 11;

  test.each<[string, Partial<Wish>, ((frame: Uint8Array, view: DataView) => void)?]>([
    ['an empty group', {}, (_, view) => view.setUint32(20, 0, true)],
    ['a group past the end', {}, (frame, view) => view.setUint32(20, frame.length - 23, true)],
    ['a slot that the cluster has not', { slot: SLOTS }],
    ['a flag that is not for the wire', {}, (frame) => (frame[REQUEST - 1] |= OpFlag.forwarded)],
    ['a made token that is no UUID', { flags: OpFlag.madeToken }],
    ['a ping', {}, (frame) => (frame[REQUEST + 2] = 7)],
    ['no kind', {}, (frame) => (frame[REQUEST + 2] = 0)],
    ['a request past the end', {}, (frame) => frame[REQUEST]++],
    ['a request that is too short', {}, (frame) => frame[REQUEST]--],
    ['a ttl that may not be', { ttlMs: 999 }],
    ['no name', { key: NOTHING }],
    ['no token', { token: NOTHING }],
    ['a token of no known length', { token: Buffer.from('t'.repeat(17)) }],
    ['a key that is too long', { key: new Uint8Array(512 + 1 + 64 + 1) }],
    ['an owner that is too long', { owner: new Uint8Array(257) }],
    ['metadata that is too long', { metadata: new Uint8Array(1_025) }],
    ['a mode that is none', { mode: 3 }],
    ['a limit that is too high', { mode: 2, limit: 10_001 }],
    ['a wait that is too long', { waitMs: 300_001 }],
    ['a lock delay that is too long', { lockDelayMs: 300_001 }],
    ['a session of no known length', { session: new Uint8Array(17) }],
    ['a principal that is too long', { principal: new Uint8Array(65) }],
    ['a batch of no known length', { batch: new Uint8Array(15) }],
    [
      'more that is cut off',
      { attempt: 1, session: new Uint8Array(16) },
      (frame) => (frame[REQUEST + 19] = 64),
    ],
    ['a kind that is none', {}, (frame) => (frame[REQUEST + 2] = 20)],
    ['a time that is none', {}, (_, view) => view.setFloat64(4, NaN, true)],
  ])('%s', (_, given, spoil) => {
    expect(spoilt({})).toBe(false);
    expect(spoilt(given, spoil)).toBe(true);
  });
});

describe('answers of the owner', () => {
  test('not_owner brings the whole forward back', () => {
    const source = new AnswerBytes();
    fc.assert(
      fc.property(wish, (one) => {
        source.reset();
        const op = opOf(one);
        writeNotOwner(source, op);
        const answer = new Answer();
        expect(readAnswer(source, 0, answer)).toBe(source.length);
        expect([answer.id, answer.code, answer.sections]).toEqual([
          one.id,
          CODES.not_owner.wire,
          Section.detail,
        ]);
        const back = new Op();
        expect(readNotOwner(source, 0, source.length, back)).toBe(true);
        expect(textOf(back)).toBe(textOf(op));
      }),
    );
  });

  test('a not_owner that was cut or flipped is refused, or is one still', () => {
    const source = new AnswerBytes();
    writeNotOwner(source, opOf(SIMPLE));
    const { length } = source;
    const op = new Op();
    for (let end = 0; end < length; end++) expect(readNotOwner(source, 0, end, op)).toBe(false);
    for (let bit = 0; bit < length * 8; bit++) {
      source.bytes[bit >> 3] ^= 1 << (bit & 7);
      if (readNotOwner(source, 0, length, op)) expect(op.id).toBe(source.view.getUint32(4, true));
      source.bytes[bit >> 3] ^= 1 << (bit & 7);
    }
  });

  test('the answer to a ping carries the clock, and nothing else is taken for one', () => {
    const source = new AnswerBytes();
    writePong(source, 1_234.5);
    expect(readPong(source, 0, source.length)).toBe(1_234.5);
    expect(countAnswers(source)).toBe(1);
    source.reset();
    writeRefusal(source, NO_FORWARD, 'bad_request');
    expect(readPong(source, 0, source.length)).toBeNaN();
    source.reset();
    writePong(source, 1);
    source.view.setUint32(4, 1, true);
    expect(readPong(source, 0, source.length)).toBeNaN();
  });

  test('a refusal has the sections that clients expect', () => {
    const read = (code: Parameters<typeof writeRefusal>[2], token?: Uint8Array): Answer => {
      const source = new AnswerBytes();
      writeRefusal(source, 9, code, token);
      const answer = new Answer();
      expect(readAnswer(source, 0, answer)).toBe(source.length);
      return answer;
    };
    expect(read('overloaded')).toMatchObject({
      id: 9,
      status: 503,
      sections: Section.queue,
      retryAfterMs: 250,
    });
    expect(read('outcome_unknown')).toMatchObject({ status: 504, sections: 0 });
    expect(read('outcome_unknown', new Uint8Array(16))).toMatchObject({
      sections: Section.token,
      tokenLength: 16,
    });
  });

  test('frames of answers whose sizes do not add up', () => {
    const source = new AnswerBytes();
    expect(countAnswers(source)).toBe(-1);
    writeRefusal(source, 1, 'overloaded');
    writeRefusal(source, 2, 'overloaded');
    expect(countAnswers(source)).toBe(2);
    source.length--;
    expect(countAnswers(source)).toBe(-1);
    source.length++;
    source.view.setUint32(0, 11, true);
    expect(countAnswers(source)).toBe(-1);
  });
});
