/** The command line as people run it, from dist/. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../servers/holdfast.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `holdfast …` to its end. Settings of whoever runs the tests don't reach it, those in `settings` do. */
export function holdfast(
  args: readonly string[],
  folder: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<Ran> {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_'));
  const env = { ...Object.fromEntries(own), ...settings };
  return new Promise((resolve) => {
    const main = join(ROOT, 'dist', 'cli', 'main.js');
    const options = { cwd: folder, env, maxBuffer: 64 * 1024 * 1024, timeout: 60_000 };
    execFile(process.execPath, [main, ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}
