/**
 * How many values to ask for at once. etcd limits a page by its number of keys
 * only, and values are from 100 bytes (slot records) to 1 MiB (journal): so the
 * size of what came last under the same kind of key decides about the next page.
 */
import { LIMITS } from '../../limits.ts';
import type { KeyValue } from '../store.ts';

/** Before anything is known: at most 10 MB. */
const FIRST_LIMIT = 8;

export class PageSizer {
  /** Average bytes of a value by kind of key: its first two parts, `holdfast/journal`. */
  readonly #averages = new Map<string, number>();

  limit(from: string, wanted: number): number {
    const average = this.#averages.get(kindOf(from));
    if (average === undefined) return Math.min(wanted, FIRST_LIMIT);
    return Math.min(wanted, Math.max(1, Math.floor(LIMITS.pageBytesMax / average)));
  }

  /** A page of small values must not make the next one huge: growth is bounded by the factor 8 a page. */
  learn(from: string, entries: readonly KeyValue[]): void {
    if (entries.length === 0) return;
    let bytes = 0;
    for (const entry of entries) bytes += entry.value.length + entry.key.length;
    const before = this.#averages.get(kindOf(from)) ?? LIMITS.pageBytesMax / FIRST_LIMIT;
    this.#averages.set(kindOf(from), Math.max(bytes / entries.length, before / 8));
  }
}

function kindOf(key: string): string {
  return key.split('/', 2).join('/');
}
