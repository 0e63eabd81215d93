/** How a command ends: sysexits(3), and the faults that carry one. */

export const Exit = {
  usage: 64,
  dataError: 65,
  noInput: 66,
  unavailable: 69,
  forbidden: 77,
} as const;

/** A fault of the person's making or of the surroundings: shown as one line, without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number;

  constructor(exitCode: number, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
