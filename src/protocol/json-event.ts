/**
 * Answers that are not final, as JSON (API.md, WebSocket): whole messages,
 * rendered from answers with a status below FINAL_STATUS_MIN.
 */
import { type Answer, Event, Section } from './answer.ts';
import type { ByteSource } from './bytes.ts';
import { renderState } from './json-answer.ts';
import { decodeText, tokenText } from './words.ts';

/** The request with the id `quotedId` (as JSON: digits, or a string with its quotes) waits. */
export function renderQueued(answer: Answer, quotedId: string): string {
  return `{"event":"queued","id":${quotedId},"position":${answer.queueLength}}`;
}

/** The watched lock changed. `answer` was read from `source` just now. */
export function renderChanged(source: ByteSource, answer: Answer, quotedName: string): string {
  return `{"event":"changed",${renderState(source, answer, quotedName)}}`;
}

/** What no request asked for: a claim was lost or is contended. '' for a status that is neither. */
export function renderPush(answer: Answer): string {
  const { status } = answer;
  if ((answer.sections & Section.detail) === 0) return '';
  const name = JSON.stringify(decodeText(answer.detailBytes, answer.detailAt, answer.detailLength));
  if (status === Event.contended) return `{"event":"contended","name":${name}}`;
  const reason = LOST_REASONS.get(status);
  if (reason === undefined || (answer.sections & Section.token) === 0) return '';
  const lockToken = tokenText(answer.tokenBytes, answer.tokenAt, answer.tokenLength);
  return `{"event":"lost","name":${name},"lockToken":"${lockToken}","reason":"${reason}"}`;
}

const LOST_REASONS: ReadonlyMap<number, string> = new Map([
  [Event.expired, 'expired'],
  [Event.forced, 'forced'],
  [Event.sessionEnded, 'session_ended'],
]);
