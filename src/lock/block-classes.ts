/**
 * The sizes of blocks in a table's arena, in units of 8 bytes: every size up to
 * 256 bytes (what nearly all locks need: at most 7 bytes are wasted), then four
 * to a doubling.
 */

const FINE_UNITS = 32;

const UNITS: number[] = [];
for (let units = 1; units <= FINE_UNITS; units++) UNITS.push(units);
for (let base = FINE_UNITS; base < 256; base *= 2) {
  for (let quarter = 5; quarter <= 8; quarter++) UNITS.push((base * quarter) / 4);
}

export const BLOCK_CLASSES = UNITS.length;
const UNITS_OF_CLASS = Uint16Array.from(UNITS);
export const BLOCK_BYTES_MAX = 8 * UNITS[UNITS.length - 1];

const CLASS_OF_UNITS = new Uint8Array(BLOCK_BYTES_MAX / 8 + 1);
for (let units = 0, i = 0; units < CLASS_OF_UNITS.length; units++) {
  if (units > UNITS[i]) i++;
  CLASS_OF_UNITS[units] = i;
}

/** The smallest class that holds `bytes`, which is 1 to BLOCK_BYTES_MAX. */
export function classOf(bytes: number): number {
  if (bytes > BLOCK_BYTES_MAX)
    throw new RangeError(`a block of ${bytes} bytes is more than a claim can need`);
  return CLASS_OF_UNITS[(bytes + 7) >>> 3];
}

/** Units of 8 bytes in a block of the class. */
export function unitsOf(blockClass: number): number {
  return UNITS_OF_CLASS[blockClass];
}
