/**
 * Heads of a client's WebSocket frames. A client must mask (RFC 6455 §5.3).
 * The mask here is zero, which is legal, costs the server its unmasking all the
 * same and the driver nothing.
 */

/** Opcodes. */
export const TEXT = 1;
export const BINARY = 2;

export function maskedHeaderBytes(payloadBytes: number): number {
  return payloadBytes < 126 ? 6 : payloadBytes < 65_536 ? 8 : 14;
}

/** FIN, masked with zero; the frame's bytes behind the head's are not touched. */
export function writeMaskedHeader(frame: Buffer, payloadBytes: number, opcode: number): void {
  frame[0] = 0x80 | opcode;
  if (payloadBytes < 126) {
    frame[1] = 0x80 | payloadBytes;
    frame.writeUInt32LE(0, 2);
  } else if (payloadBytes < 65_536) {
    frame[1] = 0x80 | 126;
    frame.writeUInt16BE(payloadBytes, 2);
    frame.writeUInt32LE(0, 4);
  } else {
    frame[1] = 0x80 | 127;
    frame.writeBigUInt64BE(BigInt(payloadBytes), 2);
    frame.writeUInt32LE(0, 10);
  }
}
