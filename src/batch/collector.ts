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

/** Hands a sealed batch to a lane; the buffer is the lane's from then on. */
export interface LaneGate {
  send(lane: number, buffer: ArrayBuffer, length: number): void;
}

export class Collector {
  private readonly gate: LaneGate;
  private readonly buffers: Buffers;
  private readonly open: BatchBytes[] = [];
  private sealing = false;
  private readonly sealAll = (): void => {
    this.sealing = false;
    for (let lane = 0; lane < this.open.length; lane++) if (this.open[lane].length > 0) this.seal(lane);
  };

  constructor(lanes: number, gate: LaneGate, buffers: Buffers) {
    this.gate = gate;
    this.buffers = buffers;
    for (let lane = 0; lane < lanes; lane++) this.open.push(this.begin());
  }

  add(lane: number, op: Op): void {
    if (this.open[lane].length + recordBytes(op) > LIMITS.batchSealBytes) this.seal(lane);
    writeRecord(this.open[lane], op);
    if (this.sealing) return;
    this.sealing = true;
    setImmediate(this.sealAll);
  }

  private seal(lane: number): void {
    const batch = this.open[lane];
    this.open[lane] = this.begin();
    this.gate.send(lane, batch.bytes.buffer as ArrayBuffer, batch.length);
  }

  private begin(): BatchBytes {
    return new BatchBytes(this.buffers.take(LIMITS.batchSealBytes));
  }
}
