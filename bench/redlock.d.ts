/** As much of redlock's types as the benchmark needs: the package has some, but its exports hide them. */
declare module 'redlock' {
  interface Lock {
    release(): Promise<unknown>;
  }
  interface Settings {
    /** −1: for ever. */
    readonly retryCount: number;
    readonly automaticExtensionThreshold: number;
  }
  export default class Redlock {
    constructor(clients: Iterable<unknown>, settings: Settings);
    on(event: 'error', listener: (error: Error) => void): this;
    acquire(resources: readonly string[], durationMs: number): Promise<Lock>;
  }
}
