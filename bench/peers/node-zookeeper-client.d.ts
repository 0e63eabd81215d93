/** As much of node-zookeeper-client's types as the benchmark needs: the package has none. */
declare module 'node-zookeeper-client' {
  export interface Client {
    connect(): void;
    close(): void;
    once(event: 'connected', listener: () => void): this;
    /** `done` is told the path, with its number when the node is sequential. */
    create(path: string, data: Buffer, mode: number, done: (error: Error | null, path: string) => void): void;
    getChildren(path: string, done: (error: Error | null, names: string[]) => void): void;
    /** @param version −1: any */
    remove(path: string, version: number, done: (error: Error | null) => void): void;
  }
  interface Package {
    readonly CreateMode: { readonly PERSISTENT: number; readonly EPHEMERAL_SEQUENTIAL: number };
    createClient(servers: string, options: { readonly sessionTimeout: number }): Client;
  }
  const zookeeper: Package;
  export default zookeeper;
}
