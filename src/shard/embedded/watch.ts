/**
 * Watching an embedded shard by looking again: the threads of one process share
 * nothing but the store. A watch remembers the mod revision of every key in its
 * range and tells the difference, so it misses states in between but never the
 * last one.
 *
 * It looks at two numbers every LOOK_MS. When the store's shape revision moved
 * (any change but a plain commit) it reads its range at once; when only commits
 * went by, which put nothing but their own term and journal keys, every
 * COMMITS_MS.
 */
import type { Watch, WatchEvent } from '../store.ts';
import { encodeBound, type Environment } from './environment.ts';

const LOOK_MS = 100;
const COMMITS_MS = 1_000;

interface Listener {
  readonly onEvents: (events: readonly WatchEvent[]) => void;
  readonly onReset: (reason: Error) => void;
  readonly onClose: () => void;
}

export class EmbeddedWatch implements Watch {
  readonly #environment: Environment;
  readonly #from: Buffer;
  readonly #to: Buffer;
  readonly #listener: Listener;
  readonly #timer: NodeJS.Timeout;
  #known = new Map<string, number>();
  #revision: number;
  #shape: number;
  #readAt = 0;
  #closed = false;

  constructor(environment: Environment, from: string, to: string, afterRevision: number, listener: Listener) {
    this.#environment = environment;
    this.#from = encodeBound(from);
    this.#to = encodeBound(to);
    this.#listener = listener;
    this.#revision = afterRevision;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
    environment.refresh();
    this.#shape = environment.shapeRevision();
    if (this.#shape > afterRevision) {
      // A key may have been deleted since: nothing here could tell.
      setImmediate(() => this.#reset());
      return;
    }
    // Only commits went by: they delete nothing, so all that is new shows in the first look.
    for (const { key, modRevision } of this.#read()) {
      if (modRevision <= afterRevision) this.#known.set(key, modRevision);
    }
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#listener.onClose();
  }

  #reset(): void {
    if (this.#closed) return;
    this.close();
    this.#listener.onReset(new Error('changes were made before the watch began'));
  }

  #look(): void {
    this.#environment.refresh();
    const revision = this.#environment.revision();
    if (revision === this.#revision) return;
    const shape = this.#environment.shapeRevision();
    const now = performance.now();
    if (shape === this.#shape && now < this.#readAt + COMMITS_MS) return;
    this.#readAt = now;
    this.#shape = shape;
    this.#revision = revision;
    const events = this.#difference(revision);
    if (events.length > 0) this.#listener.onEvents(events);
  }

  #difference(revision: number): WatchEvent[] {
    const events: WatchEvent[] = [];
    const known = new Map<string, number>();
    for (const { bytes, key, modRevision } of this.#read()) {
      known.set(key, modRevision);
      if (this.#known.get(key) === modRevision) continue;
      events.push({ key, value: this.#environment.db.getBinary(bytes), modRevision });
    }
    for (const key of this.#known.keys()) {
      if (!known.has(key)) events.push({ key, value: undefined, modRevision: revision });
    }
    this.#known = known;
    return events.sort((a, b) => a.modRevision - b.modRevision);
  }

  #read(): { bytes: Buffer; key: string; modRevision: number }[] {
    if (Buffer.compare(this.#from, this.#to) >= 0) return [];
    const found: { bytes: Buffer; key: string; modRevision: number }[] = [];
    const keys = [...this.#environment.db.getKeys({ start: this.#from, end: this.#to })];
    for (const bytes of keys) {
      found.push({ bytes, key: bytes.toString('utf8'), modRevision: this.#environment.modRevision(bytes) });
    }
    return found;
  }
}
