/** The names of a run's locks. */
import { readFileSync } from 'node:fs';
import type { LoadSettings } from './settings.ts';

export interface Names {
  /** Every name has this many bytes. */
  readonly nameBytes: number;
  nameOf(index: number): string;
}

const DIGITS = 8;

/** `count` names of this process. */
export function namesOf(settings: LoadSettings, count: number): Names {
  const { namesFile, run, process, areNamesShared } = settings;
  if (namesFile === undefined) {
    const prefix = `${run}-${areNamesShared ? 'all' : process}-`;
    const nameOf = (index: number): string => prefix + String(index).padStart(DIGITS, '0');
    return { nameBytes: prefix.length + DIGITS, nameOf };
  }
  const all = readFileSync(namesFile, 'utf8').trimEnd().split('\n');
  const first = areNamesShared ? 0 : process * count;
  const own = all.slice(first, first + count);
  const nameBytes = Buffer.byteLength(own[0] ?? '');
  if (own.length < count || own.some((name) => Buffer.byteLength(name) !== nameBytes)) {
    throw new Error(`${namesFile} must have at least ${first + count} names, all of one length`);
  }
  return { nameBytes, nameOf: (index) => own[index] };
}
