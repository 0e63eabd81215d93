/**
 * Ops whose slot nobody takes ops for just now: they wait, in order, until
 * somebody does or their time is up. Nothing has happened for them, so they can
 * be refused honestly.
 *
 * A slot's line has two parts. Ops that come back from a lane or a peer are
 * older than those that wait here already, and stand in front of them, in the
 * order of their return.
 */
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../lane/record.ts';
import { LIMITS } from '../limits.ts';
import { Op } from '../op.ts';

const FIRST_BYTES = 1_024;
/** All records of one Parked. */
const BYTES_MAX = 64 * 1024 * 1024;

type Give = (op: Op) => void;

const always = (): boolean => true;
const ignore = (): void => {};

/** Records in the order in which they came. */
class Fifo {
  /** Their times do not rise: the oldest one may stand anywhere. */
  mixed = false;
  private batch = new BatchBytes(new ArrayBuffer(FIRST_BYTES));
  /** Where the first record begins. */
  private at = 0;
  private lastReceivedAt = -Infinity;

  get empty(): boolean {
    return this.at === this.batch.length;
  }

  add(op: Op, size: number): void {
    if (this.batch.length + size > this.batch.bytes.length) this.makeRoom(size);
    writeRecord(this.batch, op);
    if (op.receivedAt < this.lastReceivedAt) this.mixed = true;
    this.lastReceivedAt = op.receivedAt;
  }

  /** Moves `op` over the first record. */
  peek(op: Op): void {
    readRecord(this.batch, this.at, op);
  }

  /** Forgets the first record; returns its size. */
  drop(): number {
    const size = this.batch.view.getUint16(this.at, true);
    this.at += size;
    return size;
  }

  /** Hands over and forgets those for which `which` holds, in order. */
  remove(op: Op, which: (op: Op) => boolean, give: Give): void {
    const { batch } = this;
    let to = this.at;
    for (let at = this.at; at < batch.length;) {
      const next = readRecord(batch, at, op);
      if (which(op)) give(op);
      else {
        batch.bytes.copyWithin(to, at, next);
        to += next - at;
      }
      at = next;
    }
    batch.length = to;
  }

  /** Drops what was taken from the front, or grows. */
  private makeRoom(size: number): void {
    const { batch, at } = this;
    const left = batch.length - at;
    const target =
      left + size <= batch.bytes.length / 2
        ? batch
        : new BatchBytes(new ArrayBuffer(Math.max(batch.bytes.length * 2, left + size)));
    target.bytes.set(batch.bytes.subarray(at, batch.length));
    target.length = left;
    this.batch = target;
    this.at = 0;
  }
}

interface Line {
  returned: Fifo | undefined;
  readonly fresh: Fifo;
}

export class Parked {
  count = 0;
  private bytes = 0;
  private readonly lines = new Map<number, Line>();
  private readonly op = new Op();
  private readonly onLines: () => void;

  /** @param onLines other slots than before have ops here */
  constructor(onLines: () => void) {
    this.onLines = onLines;
  }

  /** The slots that have ops here. */
  slots(): IterableIterator<number> {
    return this.lines.keys();
  }

  has(slot: number): boolean {
    return this.lines.has(slot);
  }

  /** False when there is no room for it. */
  add(op: Op): boolean {
    return this.addTo(op, false);
  }

  /** An op that is back from where it was sent; false when there is no room for it. */
  addReturned(op: Op): boolean {
    return this.addTo(op, true);
  }

  /** The next op of `slot`; valid until the next call. */
  peek(slot: number): Op | undefined {
    const line = this.lines.get(slot);
    if (line === undefined) return undefined;
    firstOf(line).peek(this.op);
    return this.op;
  }

  /** Forgets the op that peek shows. */
  drop(slot: number): void {
    const line = this.lines.get(slot)!;
    this.bytes -= firstOf(line).drop();
    this.count--;
    this.tidy(slot, line);
  }

  /** Hands over all ops of `slot`, in order, and forgets them. */
  release(slot: number, give: Give): void {
    const line = this.lines.get(slot);
    if (line === undefined) return;
    this.removeFrom(line.returned, always, give);
    this.removeFrom(line.fresh, always, give);
    this.tidy(slot, line);
  }

  /** Hands over those that were received before `before`; returns the slots that they stood in. */
  expire(before: number, give: Give): number[] {
    const slots: number[] = [];
    const late = (op: Op): boolean => op.receivedAt < before;
    for (const [slot, line] of this.lines) {
      const { count } = this;
      this.expireFrom(line.returned, late, give);
      this.expireFrom(line.fresh, late, give);
      if (this.count === count) continue;
      slots.push(slot);
      this.tidy(slot, line);
    }
    return slots;
  }

  /** Forgets the waits and watches of a connection that is gone; returns the slots that they stood in. */
  dropOf(connection: number): number[] {
    const slots: number[] = [];
    const isOf = (op: Op): boolean => op.connection === connection && op.isStanding;
    for (const [slot, line] of this.lines) {
      const { count } = this;
      this.removeFrom(line.returned, isOf, ignore);
      this.removeFrom(line.fresh, isOf, ignore);
      if (this.count === count) continue;
      slots.push(slot);
      this.tidy(slot, line);
    }
    return slots;
  }

  private addTo(op: Op, returned: boolean): boolean {
    const size = recordBytes(op);
    if (this.count >= LIMITS.parkedOpsMax || this.bytes + size > BYTES_MAX) return false;
    let line = this.lines.get(op.slot);
    if (line === undefined) {
      line = { returned: undefined, fresh: new Fifo() };
      this.lines.set(op.slot, line);
      this.onLines();
    }
    const fifo = returned ? (line.returned ??= new Fifo()) : line.fresh;
    fifo.add(op, size);
    this.count++;
    this.bytes += size;
    return true;
  }

  /** In a fifo whose times rise the late ones are the first ones. */
  private expireFrom(fifo: Fifo | undefined, late: (op: Op) => boolean, give: Give): void {
    if (fifo === undefined) return;
    if (fifo.mixed) return this.removeFrom(fifo, late, give);
    while (!fifo.empty) {
      fifo.peek(this.op);
      if (!late(this.op)) return;
      give(this.op);
      this.bytes -= fifo.drop();
      this.count--;
    }
  }

  private removeFrom(fifo: Fifo | undefined, which: (op: Op) => boolean, give: Give): void {
    fifo?.remove(this.op, which, (op) => {
      this.count--;
      this.bytes -= recordBytes(op);
      give(op);
    });
  }

  private tidy(slot: number, line: Line): void {
    if (line.returned?.empty === true) line.returned = undefined;
    if (line.returned !== undefined || !line.fresh.empty) return;
    this.lines.delete(slot);
    this.onLines();
  }
}

function firstOf(line: Line): Fifo {
  return line.returned ?? line.fresh;
}
