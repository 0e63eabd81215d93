/** Who is to hear of what becomes of a wait or a claim. In memory only. */

/** Who waits for the answer of a wait. In memory only: after a take-over it has to come back. */
export interface Waiter {
  readonly connection: number;
  readonly attempt: number;
  /** The request's id, which its answer carries. */
  readonly id: number;
  /** OpFlag of the acquire. */
  readonly flags: number;
  readonly origin: number;
  /** Monotonic ms. */
  readonly receivedAt: number;
}

/** Who wants to hear that a claim is lost or contended: the socket that last acquired or renewed it. */
export interface Listener {
  /** The connection that the op came by. */
  readonly connection: number;
  /** The socket's number at the process that it is connected to. */
  readonly origin: number;
  /** That is another process, at the far end of `connection`. */
  readonly forwarded: boolean;
}
