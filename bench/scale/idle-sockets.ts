/**
 * A program that opens WebSockets and leaves them alone; it answers pings, as
 * any client does. Says `open` when all are there, and ends with its parent.
 *
 *   node idle-sockets.js '{"url":"ws://…","count":10000}'
 */
import { WebSocket } from 'ws';

/** Handshakes under way at a time. */
const AT_ONCE = 100;

const { url, count } = JSON.parse(process.argv[2]) as { url: string; count: number };

function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, 'holdfast.v1.bin', { perMessageDeflate: false });
    socket.once('open', () => resolve());
    socket.on('error', reject);
    socket.on('close', (code) => {
      process.stderr.write(`an idle socket was closed with ${code}\n`);
      process.exit(1);
    });
  });
}

let left = count;
async function openers(): Promise<void> {
  while (left-- > 0) await open();
}

process.on('disconnect', () => process.exit(0));
await Promise.all(Array.from({ length: AT_ONCE }, openers));
process.send?.('open');
