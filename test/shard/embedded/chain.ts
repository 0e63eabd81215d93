/** The committer's chain, known to the process that writes it and to the test that reads it back. */

export const TERM = 'term/t';
export const JOURNAL = 'journal/t/';

export function termValue(seq: number): Uint8Array {
  return Buffer.from(String(seq).padStart(12, '0'));
}

/** What entry `seq` holds: 1 byte to 200 KB, different each time. */
export function chainEntry(seq: number): Uint8Array {
  const length = 1 + ((seq * 7919) % (seq % 50 === 0 ? 200_000 : 30_000));
  const entry = new Uint8Array(length).fill(seq & 255);
  entry[length - 1] = seq >>> 8;
  return entry;
}
