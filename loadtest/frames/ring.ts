/** A queue of block numbers; each block is in it at most once. */
export class Ring {
  readonly #blocks: Int32Array;
  #first = 0;
  size = 0;

  constructor(blocks: number) {
    this.#blocks = new Int32Array(blocks);
  }

  push(block: number): void {
    this.#blocks[(this.#first + this.size++) % this.#blocks.length] = block;
  }

  /** -1 when it is empty. */
  peek(): number {
    return this.size === 0 ? -1 : this.#blocks[this.#first];
  }

  shift(): number {
    const block = this.peek();
    this.#first = (this.#first + 1) % this.#blocks.length;
    this.size--;
    return block;
  }

  clear(): void {
    this.size = 0;
  }
}
