/**
 * Watches what a process forwards, and what it takes of other processes' (DESIGN
 * §6): one hop, never sent again after it may have arrived, not taken when it is
 * too old.
 *
 *   taken ─► handed to a wire ─► answered, or given up
 *     └──► returned: never handed over, or the owner said `not_owner`
 */
import { CODES } from '../../src/errors.ts';
import type { Op } from '../../src/op.ts';
import type { OpenWire } from '../../src/peers/wire.ts';

/** By the grammar of peers/frame.ts, read on its own. */
const FRAME_HEAD_BYTES = 12;
const GROUP_HEAD_BYTES = 12;
const FORWARD_HEAD_BYTES = 11;
const MORE_HEAD_BYTES = 22;
/** Of the flags: there is more than most ops have. */
const HAS_MORE = 0x80;
/** In the place of a term: slots that are wanted. */
const NO_TERM = 0xffff_ffff_ffff_ffffn;
/** Of a handshake that has not ended: its messages are no frames. */
const WELCOME = 4;

function countForwards(frame: Uint8Array): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  let count = 0;
  for (let at = FRAME_HEAD_BYTES; at < frame.length;) {
    const end = at + GROUP_HEAD_BYTES + view.getUint32(at + 8, true);
    at = view.getBigUint64(at) === NO_TERM ? end : at + GROUP_HEAD_BYTES;
    for (; at < end; count++) {
      at += headBytes(view, at);
      at += view.getUint16(at, true);
    }
  }
  return count;
}

/** What stands before the request of the forward at `at`, with the three texts that it may have. */
function headBytes(view: DataView, at: number): number {
  if ((view.getUint8(at + FORWARD_HEAD_BYTES - 1) & HAS_MORE) === 0) return FORWARD_HEAD_BYTES;
  const head = FORWARD_HEAD_BYTES + MORE_HEAD_BYTES;
  let texts = 0;
  for (let i = 1; i <= 3; i++) texts += view.getUint8(at + head - i);
  return head + texts;
}

function countRefusals(frame: Uint8Array): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  let count = 0;
  for (let at = 0; at < frame.length; at += view.getUint32(at, true))
    if (view.getUint8(at + 10) === CODES.not_owner.wire) count++;
  return count;
}

export class ForwardAudit {
  readonly #complain: (text: string) => void;
  readonly #peerConnections = new Set<number>();
  readonly #forwardedAt = new Map<string, number>();
  #taken = 0;
  #handed = 0;
  #returned = 0;
  #refused = 0;

  constructor(complain: (text: string) => void) {
    this.#complain = complain;
  }

  get forwards(): number {
    return this.#handed;
  }

  /** A connection of another process: its ops come from there. */
  peerConnection(number: number): void {
    this.#peerConnections.add(number);
  }

  /** Routing gave the op to a link. */
  took(op: Op, now: number): void {
    if (this.#peerConnections.has(op.connection)) {
      this.#complain(`op ${op.id} of connection ${op.connection} came from a peer and was forwarded again`);
    }
    this.#taken++;
    this.#forwardedAt.set(`${op.connection} ${op.id}`, now);
  }

  /** A link gave an op back to routing. */
  returned(op: Op): void {
    this.#returned++;
    if (this.#returned - this.#refused > this.#taken - this.#handed) {
      this.#complain(`op ${op.id} of connection ${op.connection} is sent again though it may have arrived`);
    }
  }

  forwardedAt(connection: number, id: number): number | undefined {
    const key = `${connection} ${id}`;
    const at = this.#forwardedAt.get(key);
    this.#forwardedAt.delete(key);
    return at;
  }

  /** Counts what passes over the wires that `open` makes. */
  watch(open: OpenWire): OpenWire {
    return (address, events) => {
      let greeting = true;
      const wire = open(address, {
        opened: () => events.opened(),
        closed: (reason) => events.closed(reason),
        message: (frame) => {
          if (!greeting) this.#refused += countRefusals(frame);
          if (frame[0] === WELCOME && frame.length > 33) greeting = false;
          events.message(frame);
        },
      });
      return {
        send: (frame) => {
          if (!greeting) this.#handed += countForwards(frame);
          wire.send(frame);
        },
        get unsent() {
          return wire.unsent;
        },
        close: () => wire.close(),
      };
    };
  }

  /** Routing is asked to take another process's forward. */
  offered(connection: number, id: number, ageMs: number, ageMsMax: number): void {
    if (ageMs > ageMsMax) {
      this.#complain(
        `op ${id} of connection ${connection} was taken ${ageMs.toFixed(0)} ms after it was sent`,
      );
    }
  }
}
