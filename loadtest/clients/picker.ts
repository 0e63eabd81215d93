/** Which names a client asks for. */
import type { Popularity } from '../workload.ts';
import type { Client } from './client.ts';
import { Zipf } from './popularity.ts';

/** How often another name is tried when one is held or picked already. */
const TRIES = 64;

export class Picker {
  /** Undefined: each client has names of its own. */
  readonly #zipf: Zipf | undefined;
  readonly #namesEach: number;

  /** @param names at least as many as clients, if each has its own */
  constructor(popularity: Popularity, names: number, clients: number) {
    if (popularity === 'own') {
      this.#namesEach = Math.floor(names / clients);
    } else {
      this.#namesEach = 0;
      this.#zipf = new Zipf(names, popularity === 'uniform' ? 0 : popularity.zipf);
    }
  }

  firstNameOf(client: number): number {
    return client * this.#namesEach;
  }

  /** Different ones, none of which it holds; fewer than `times` when chance finds no more. */
  pick(client: Client, times: number): number[] {
    const names: number[] = [];
    const isTaken = (name: number): boolean =>
      names.includes(name) || [...client.held.values()].some((held) => held.name === name);
    for (let i = 0; names.length < times && i < TRIES * times; i++) {
      const name =
        this.#zipf === undefined
          ? client.firstName + (client.usedNames++ % this.#namesEach)
          : this.#zipf.pick(Math.random());
      if (!isTaken(name)) names.push(name);
    }
    return names;
  }
}
