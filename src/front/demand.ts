/**
 * The slots that requests wait for, in this process or in others. Its lanes
 * read those back first when they inherit slots: clients of all processes wait
 * for the one heir.
 */
export class Demand {
  private readonly tell: (slots: Uint16Array) => void;
  /** How many processes want a slot. */
  private readonly wantedBy: Uint16Array;
  private readonly lists = new Map<string, Uint16Array>();

  /** @param tell hears the slots that anybody wants, in rising order, whenever these are others than before */
  constructor(slots: number, tell: (slots: Uint16Array) => void) {
    this.tell = tell;
    this.wantedBy = new Uint16Array(slots);
  }

  /** `process` wants these slots, each named once, and no others any more. The list is not changed afterwards. */
  update(process: string, slots: Uint16Array): void {
    const { lists, wantedBy } = this;
    const before = lists.get(process) ?? [];
    let changed = false;
    // The new ones come first: what is in both lists is wanted all the time.
    for (const slot of slots) if (wantedBy[slot]++ === 0) changed = true;
    for (const slot of before) if (--wantedBy[slot] === 0) changed = true;
    if (slots.length > 0) lists.set(process, slots);
    else lists.delete(process);
    if (changed) this.tell(this.all());
  }

  private all(): Uint16Array {
    const { wantedBy } = this;
    const all: number[] = [];
    for (let slot = 0; slot < wantedBy.length; slot++) if (wantedBy[slot] > 0) all.push(slot);
    return Uint16Array.from(all);
  }
}
