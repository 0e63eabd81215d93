/**
 * Takes a data folder and keeps it: says `locked`, or why not.
 *
 *   node holder.mjs <compiled folder-lock> <folder> [child]
 *
 * With `child` it also starts a process that outlives it, and says its pid.
 */
import { spawn } from 'node:child_process';

const [, , lockPath, folder, mode] = process.argv;
const { lockFolder } = await import(lockPath);
try {
  const lock = lockFolder(folder);
  process.stdin.once('data', () => {
    lock.release();
    console.log('released');
  });
  const child = mode === 'child' ? spawn('sleep', ['60'], { stdio: 'ignore', detached: true }) : undefined;
  console.log(`locked ${child?.pid ?? ''}`);
  setInterval(() => {}, 60_000);
} catch (error) {
  console.log(`${error.name}: ${error.message}`);
}
