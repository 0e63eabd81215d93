/** What whoever passes answers on has to know of them, without reading them whole (answer.ts). */
import { ANSWER_HEAD_BYTES, Section } from './answer.ts';
import { type ByteSource, readU64 } from './bytes.ts';

export const ANSWER_CODE_AT = 10;
const SECTIONS_AT = 11;
/** Of the state section. */
const REVISION_AT = ANSWER_HEAD_BYTES + 8;

/** The answer at `at` tells of a claim that is held. */
export function isClaim({ view }: ByteSource, at: number): boolean {
  return view.getUint8(at + ANSWER_CODE_AT) === 0 && (view.getUint8(at + SECTIONS_AT) & Section.claim) !== 0;
}

/** Of the answer at `at`, whose first section is the state of a lock. */
export function stateRevision({ view }: ByteSource, at: number): number {
  return readU64(view, at + REVISION_AT);
}
