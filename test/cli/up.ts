/** `holdfast up` as a process of its own, as people start it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../servers/holdfast.ts';

/** One start of `holdfast up`, to its end. */
export class Up {
  output = '';
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(folder: string, port: number, more: readonly string[] = []) {
    const main = join(ROOT, 'dist', 'cli', 'main.js');
    // With the etcd and HAProxy that the set-up found, which is all it takes from the environment.
    const args = [main, 'up', '--port', String(port), '--data', 'up', ...more];
    this.child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
  }

  async says(words: string): Promise<void> {
    const until = Date.now() + 60_000;
    while (!this.output.includes(words)) {
      if (this.child.exitCode !== null || Date.now() > until)
        throw new Error(`no «${words}» in: ${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async stop(): Promise<number | null> {
    this.child.kill('SIGINT');
    return this.ended;
  }
}
