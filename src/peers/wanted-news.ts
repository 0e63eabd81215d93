/** What a peer was told of the slots that requests of this process wait for, and what it is to be told next. */

const NO_SLOTS = new Uint16Array(0);

export class WantedNews {
  private wanted: Uint16Array = NO_SLOTS;
  /** On the wire that is open. */
  private told: Uint16Array = NO_SLOTS;

  /** In rising order; not changed afterwards. */
  set(slots: Uint16Array): void {
    this.wanted = slots;
  }

  /** Another wire: its other end knows nothing. True when there is something to tell. */
  restart(): boolean {
    this.told = NO_SLOTS;
    return this.wanted.length > 0;
  }

  get isThere(): boolean {
    return this.wanted !== this.told;
  }

  /** The slots, if they are others than those that were told; they are told then. */
  take(): Uint16Array | undefined {
    const { wanted, told } = this;
    this.told = wanted;
    const isSame = wanted.length === told.length && wanted.every((slot, i) => slot === told[i]);
    return isSame ? undefined : wanted;
  }
}
