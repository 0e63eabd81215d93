/**
 * One open batch a lane. Ops are appended as they are parsed; all batches are
 * sealed at the end of the event-loop turn, or earlier when one is full.
 *
 * The end of the turn is the check phase (`setImmediate`): sockets are read in
 * the poll phase, each message in a callback of its own, and microtasks run
 * after every callback, so a microtask would seal a batch per message.
 */
import type { Buffers } from '../lane/buffers.ts';
import { BatchBytes, recordBytes, writeRecord } from '../lane/record.ts';
import { LIMITS } from '../limits.ts';
import type { Op } from '../op.ts';

export interface LaneGate {
  /** Hands a sealed batch to a lane; the buffer is the lane's from then on. `taken`: it has decided on it. */
  send(lane: number, buffer: ArrayBuffer, length: number, taken: () => void): void;
}

/**
 * Batches under way to one lane; the next one leaves when one of them is taken,
 * or when it is full. A lane that is busy so gets few large batches in place of
 * many small ones, each of which costs both threads some 20 µs.
 */
const UNDER_WAY_MAX = 2;

export class Collector {
  private readonly gate: LaneGate;
  private readonly buffers: Buffers;
  private readonly open: BatchBytes[] = [];
  private readonly underWay: number[] = [];
  private readonly taken: (() => void)[] = [];
  private sealing = false;
  private readonly sealAll = (): void => {
    this.sealing = false;
    for (let lane = 0; lane < this.open.length; lane++) this.sealWhenDue(lane);
  };

  constructor(lanes: number, gate: LaneGate, buffers: Buffers) {
    this.gate = gate;
    this.buffers = buffers;
    for (let lane = 0; lane < lanes; lane++) {
      this.open.push(this.begin());
      this.underWay.push(0);
      this.taken.push(() => {
        this.underWay[lane]--;
        this.sealWhenDue(lane);
      });
    }
  }

  add(lane: number, op: Op): void {
    if (this.open[lane].length + recordBytes(op) > LIMITS.batchSealBytes) this.seal(lane);
    writeRecord(this.open[lane], op);
    if (this.sealing) return;
    this.sealing = true;
    setImmediate(this.sealAll);
  }

  private sealWhenDue(lane: number): void {
    if (this.open[lane].length > 0 && this.underWay[lane] < UNDER_WAY_MAX) this.seal(lane);
  }

  private seal(lane: number): void {
    const batch = this.open[lane];
    this.underWay[lane]++;
    this.open[lane] = this.begin();
    this.gate.send(lane, batch.bytes.buffer as ArrayBuffer, batch.length, this.taken[lane]);
  }

  private begin(): BatchBytes {
    return new BatchBytes(this.buffers.take(LIMITS.batchSealBytes));
  }
}
