// A lane's worker that tells who it is and sends every batch back on its port.
import { threadId } from 'node:worker_threads';

let lane = -1;
let port;

export default async function work(task) {
  if (task.kind === 'start') {
    ({ lane, port } = task);
    port.postMessage({
      kind: 'log',
      level: 'info',
      message: 'started',
      fields: { lane, lanes: task.lanes, threadId },
    });
    return null;
  }
  if (task.kind === 'stop') {
    port.postMessage({ kind: 'log', level: 'info', message: 'stopped', fields: { lane, threadId } });
    return null;
  }
  const bytes = new Uint8Array(task.buffer, 0, task.length);
  if (bytes[0] === 255) throw new Error('the lane met a defect');
  if (bytes[0] === 254) process.exit(3);
  // Work that is still going on while the next batch arrives, as in a lane with a commit in flight.
  setTimeout(
    () =>
      port.postMessage({ kind: 'bounced', buffer: task.buffer, length: task.length, lane, threadId }, [
        task.buffer,
      ]),
    5,
  );
  return null;
}
