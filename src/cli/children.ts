/**
 * Programs that run beside this process and must not outlive it, in a process
 * group of their own: Ctrl-C in the terminal does not reach them, whoever
 * started them ends them, in its own order.
 *
 *   running ─ stop: SIGTERM, later SIGKILL ─► ended
 *      └──── by itself, by somebody's kill ─► ended
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';

const running = new Set<ChildProcess>();
let exitHooked = false;

/** Whatever still runs when this process exits is killed. */
export function killAtExit(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
  if (exitHooked) return;
  exitHooked = true;
  process.on('exit', () => {
    for (const left of running) left.kill('SIGKILL');
  });
}

export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly stdio: StdioOptions;
  readonly cwd?: string;
}

export class Child {
  readonly process: ChildProcess;
  /** How it ended, for people: «exit 1», «SIGKILL». */
  readonly ended: Promise<string>;
  #isRunning = true;

  constructor({ command, args, stdio, cwd }: ChildOptions) {
    this.process = spawn(command, args, { stdio, detached: true, ...(cwd === undefined ? {} : { cwd }) });
    killAtExit(this.process);
    this.ended = new Promise((resolve) => {
      const done = (how: string): void => {
        this.#isRunning = false;
        resolve(how);
      };
      this.process.once('error', (error) => done(error.message));
      this.process.once('exit', (code, signal) => done(signal ?? `exit ${code}`));
    });
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** SIGTERM, and SIGKILL when that did not end it within `ms`. */
  async stop(ms: number): Promise<void> {
    if (!this.#isRunning) return;
    this.process.kill('SIGTERM');
    this.process.kill('SIGCONT');
    const timer = setTimeout(() => this.process.kill('SIGKILL'), ms);
    await this.ended;
    clearTimeout(timer);
  }
}
