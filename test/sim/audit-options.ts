/** What audits of a run have to know of it: where nothing fails, more can be asked for. */
export interface AuditOptions {
  /** False: clocks of owners jumped. */
  readonly honestClocks: boolean;
  /** Nothing failed and nobody stood still. */
  readonly prompt: boolean;
  /** Nor did owners change. */
  readonly still?: boolean;
  /** How long it may take until a wait has found its place again, in ms. */
  readonly resumedMs?: number | undefined;
  /** Stores always answered and no thread stood still. */
  readonly attentive?: boolean;
  /** When no client had wanted anything for longer than any session lasts. */
  readonly restAt?: number;
  /** From when on all is well. */
  readonly wellFrom?: number;
}
