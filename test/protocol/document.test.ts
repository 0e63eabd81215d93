/** docs/protocol.md is normative: what it shows must be what the code does. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind } from '../../src/op.ts';
import { Answer, AnswerBytes, Section, writeAnswer } from '../../src/protocol/answer.ts';
import { frameOf } from '../front/sockets.ts';

const text = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');

/** The bytes of the example blocks, without the remarks. */
const examples = [...text.matchAll(/```hex\n([\s\S]*?)```/g)].map(([, block]) =>
  block
    .split('\n')
    .map((line) => line.split(/\s{3,}/)[0].replaceAll(' ', ''))
    .join(''),
);

test('the request of the example', () => {
  const token = Buffer.from('00112233445546778899aabbccddeeff', 'hex');
  const frame = frameOf(
    { id: 7, name: 'order-1', token, ttlMs: 30_000 },
    { kind: Kind.get, id: 8, name: 'order-1' },
  );
  expect(examples[0]).toBe(frame.toString('hex'));
  expect(text).toContain(`one frame of ${frame.length} bytes`);
});

test('the answers of the example', () => {
  const out = new AnswerBytes();
  const answer = new Answer();
  const times = { fencingToken: 42, ttlMs: 30_000, waitedMs: 2, expiresInMs: 29_998 };
  writeAnswer(out, Object.assign(answer, times, { id: 7, status: 201, sections: Section.claim }));
  writeAnswer(
    out,
    Object.assign(answer, { id: 8, status: 200, sections: Section.state, holderCount: 1, revision: 42 }),
  );
  expect(examples[1]).toBe(Buffer.from(out.bytes.slice(0, out.length)).toString('hex'));
  expect(text).toContain(`here in one frame of ${out.length} bytes`);
});

test('the table of codes', () => {
  for (const [code, { wire, status, retryable }] of Object.entries(CODES)) {
    // Between processes only.
    if (code === 'not_owner') continue;
    const row = `| ${wire} | \`${code}\` | ${status} | ${retryable ? 'yes' : 'no'} |`;
    expect(text.replaceAll(/ +/g, ' ')).toContain(row);
  }
  expect(text).not.toContain('not_owner');
});

test('the limits', () => {
  expect(LIMITS.frameBytesMax).toBe(1_024 * 1_024);
  expect(LIMITS.socketBackpressureBytesMax).toBe(16 * 1_024 * 1_024);
  expect(text).toContain(`at most ${LIMITS.socketRequestsMax.toLocaleString('en-US')} open requests`);
  expect(text).toContain(`for ${LIMITS.socketIdleSecondsMax} s`);
  expect(text).toContain(`0 = the default: ${LIMITS.ttlMsDefault.toLocaleString('en-US')} for acquire`);
});
