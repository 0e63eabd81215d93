/**
 * A process that takes a data folder and keeps it: says `locked`, or why not.
 *
 *   node holder.js <folder> [child]
 *
 * With `child` it also starts a process that outlives it, and says its pid.
 */
import { spawn } from 'node:child_process';
import { lockFolder } from '../../../src/shard/embedded/folder-lock.ts';

const [, , folder, mode] = process.argv;
try {
  const lock = lockFolder(folder!);
  process.stdin.once('data', () => {
    lock.release();
    console.log('released');
  });
  const child = mode === 'child' ? spawn('sleep', ['60'], { stdio: 'ignore', detached: true }) : undefined;
  console.log(`locked ${child?.pid ?? ''}`);
  setInterval(() => {}, 60_000);
} catch (error) {
  const { name, message } = error as Error;
  console.log(`${name}: ${message}`);
}
