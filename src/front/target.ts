/**
 * What a request line names: path and query, taken apart by hand because a
 * lock's name is exact bytes, which URL parsers fold and replace.
 */
import type { Problem } from '../errors.ts';

/** The bytes that a percent-encoded text stands for; undefined: a broken escape or raw non-ASCII. */
export function percentDecode(text: string, plusIsSpace: boolean): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code > 0x7e) return undefined;
    if (code === PERCENT) {
      code = (hexValue(text.charCodeAt(i + 1)) << 4) | hexValue(text.charCodeAt(i + 2));
      if (!(code >= 0 && code <= 255)) return undefined;
      i += 2;
    } else if (plusIsSpace && code === PLUS) code = SPACE;
    bytes[length++] = code;
  }
  return bytes.subarray(0, length);
}

const PERCENT = 0x25;
const PLUS = 0x2b;
const SPACE = 0x20;

/** -1 (which stays negative when shifted) for anything but a hex digit. */
function hexValue(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

/** Query parameters as text, each at most once and all of `allowed`; what is wrong is added to `problems`. */
export function readQuery(
  query: string,
  allowed: readonly string[],
  problems: Problem[],
): Map<string, string> {
  const found = new Map<string, string>();
  if (query === '') return found;
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const cut = pair.indexOf('=');
    const name = decodeUtf8(percentDecode(cut < 0 ? pair : pair.slice(0, cut), true));
    const value = cut < 0 ? '' : decodeUtf8(percentDecode(pair.slice(cut + 1), true));
    if (name === undefined || value === undefined) {
      problems.push({ pointer: 'query', detail: 'percent-encoded UTF-8' });
    } else if (!allowed.includes(name)) {
      problems.push({ pointer: `query/${name.slice(0, 64)}`, detail: 'unknown query parameter' });
    } else if (found.has(name)) {
      problems.push({ pointer: `query/${name}`, detail: 'given twice' });
    } else found.set(name, value);
    if (problems.length > 8) break;
  }
  return found;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Buffer | undefined): string | undefined {
  try {
    return bytes === undefined ? undefined : decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
