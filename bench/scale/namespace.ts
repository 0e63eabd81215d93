/**
 * A network namespace that etcd can run in, joined to this machine by a veth
 * pair, with the delay of a longer way put on by netem.
 *
 *   none ─ make ─► there ─ remove, or the end of this process ─► none
 *
 * Needs root, `ip` and `tc` (package iproute2), and a kernel with netem.
 */
import { execFileSync } from 'node:child_process';

/** Set aside for benchmarks of networks (RFC 2544): a /30 for each namespace of a process. */
const NETWORK = '198.18';

const made = new Set<Namespace>();
let count = 0;

process.on('exit', () => {
  for (const namespace of made) namespace.remove();
});

export class Namespace {
  readonly name: string;
  /** Of its end. */
  readonly address: string;
  readonly #outside: string;
  readonly #inside: string;

  private constructor(number: number) {
    this.name = `holdfast-${process.pid}-${number}`;
    // Names of links have at most 15 characters.
    this.#outside = `hf${process.pid}o${number}`;
    this.#inside = `hf${process.pid}i${number}`;
    this.address = `${NETWORK}.${process.pid % 256}.${4 * number + 2}`;
  }

  /** Throws an Error with what `ip` said. */
  static make(): Namespace {
    const namespace = new Namespace(count++ % 60);
    made.add(namespace);
    try {
      namespace.#make();
    } catch (error) {
      namespace.remove();
      throw error;
    }
    return namespace;
  }

  /** The command that runs another one inside. */
  get command(): readonly string[] {
    return ['ip', 'netns', 'exec', this.name];
  }

  /** Everything that leaves it is `ms` late from now on: so much is added to each round trip. */
  delay(ms: number): void {
    this.#runInside(
      `tc qdisc replace dev ${this.#inside} root netem delay ${Math.round(ms * 1000)}us limit 100000`,
    );
  }

  /** Whatever still runs inside keeps it alive, out of reach: end that first. */
  remove(): void {
    if (!made.delete(this)) return;
    for (const command of [`ip link del ${this.#outside}`, `ip netns del ${this.name}`]) {
      try {
        run(command);
      } catch {
        // It was not made, or the other end of the pair took it along.
      }
    }
  }

  #make(): void {
    const gateway = this.address.replace(/\d+$/, (last) => String(Number(last) - 1));
    run(`ip netns add ${this.name}`);
    run(`ip link add ${this.#outside} type veth peer name ${this.#inside}`);
    run(`ip link set ${this.#inside} netns ${this.name}`);
    run(`ip addr add ${gateway}/30 dev ${this.#outside}`);
    run(`ip link set ${this.#outside} up`);
    this.#runInside(`ip addr add ${this.address}/30 dev ${this.#inside}`);
    this.#runInside(`ip link set ${this.#inside} up`);
    this.#runInside('ip link set lo up');
  }

  #runInside(command: string): void {
    run([...this.command, command].join(' '));
  }
}

/** Why netem can't be used here; undefined: it can. */
export function netemMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'namespaces need root';
  try {
    const namespace = Namespace.make();
    try {
      namespace.delay(1);
    } finally {
      namespace.remove();
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function run(command: string): void {
  const [program, ...args] = command.split(' ');
  try {
    execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 10_000 });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    throw new Error(`${command}: ${stderr?.toString().trim() || message}`, { cause: error });
  }
}
