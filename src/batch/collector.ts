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
  /**
   * Hands a sealed batch to a lane; the buffer is the lane's from then on.
   * `seen`: the lane's last announcement that its ops were routed by.
   * `taken`: the lane has decided on it.
   */
  send(lane: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void): void;
  /** Tells all lanes, behind what was sent, that nobody is at this connection of the front any more. */
  gone(connection: number): void;
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
  private readonly defer: (run: () => void) => void;
  private readonly open: BatchBytes[] = [];
  private readonly underWay: number[] = [];
  /** By lane: the last of its announcements that the front has processed. */
  private readonly seen: number[] = [];
  /** Lanes that wait to hear what the front has seen. */
  private readonly reports: boolean[] = [];
  private readonly taken: (() => void)[] = [];
  private sealing = false;
  private readonly sealAll = (): void => {
    this.sealing = false;
    for (let lane = 0; lane < this.open.length; lane++) this.sealWhenDue(lane);
  };

  /** @param defer runs it at the end of the event-loop turn */
  constructor(
    lanes: number,
    gate: LaneGate,
    buffers: Buffers,
    defer: (run: () => void) => void = setImmediate,
  ) {
    this.gate = gate;
    this.buffers = buffers;
    this.defer = defer;
    for (let lane = 0; lane < lanes; lane++) {
      this.open.push(this.begin());
      this.underWay.push(0);
      this.seen.push(0);
      this.reports.push(false);
      this.taken.push(() => {
        this.underWay[lane]--;
        this.sealWhenDue(lane);
      });
    }
  }

  add(lane: number, op: Op): void {
    if (this.open[lane].length + recordBytes(op) > LIMITS.batchSealBytes) this.seal(lane);
    writeRecord(this.open[lane], op);
    this.sealLater();
  }

  /** The front is about to route by `announcement` of the lane: what it routed before leaves as it is. */
  raise(lane: number, announcement: number): void {
    if (this.open[lane].length > 0) this.seal(lane);
    this.seen[lane] = announcement;
  }

  /** The lanes are told, behind what was added so far. */
  gone(connection: number): void {
    for (let lane = 0; lane < this.open.length; lane++) if (this.open[lane].length > 0) this.seal(lane);
    this.gate.gone(connection);
  }

  /** Tells the lane by the end of the turn what the front has seen, if need be with a batch without ops. */
  report(lane: number): void {
    this.reports[lane] = true;
    this.sealLater();
  }

  private sealLater(): void {
    if (this.sealing) return;
    this.sealing = true;
    this.defer(this.sealAll);
  }

  private sealWhenDue(lane: number): void {
    const due = this.open[lane].length > 0 && this.underWay[lane] < UNDER_WAY_MAX;
    if (due || this.reports[lane]) this.seal(lane);
  }

  private seal(lane: number): void {
    const batch = this.open[lane];
    const buffer = batch.length > 0 ? (batch.bytes.buffer as ArrayBuffer) : new ArrayBuffer(0);
    if (batch.length > 0) this.open[lane] = this.begin();
    this.underWay[lane]++;
    this.reports[lane] = false;
    this.gate.send(lane, buffer, batch.length, this.seen[lane], this.taken[lane]);
  }

  private begin(): BatchBytes {
    return new BatchBytes(this.buffers.take(LIMITS.batchSealBytes));
  }
}
