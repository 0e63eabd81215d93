/**
 * Loaded into every thread of a server under test (NODE_OPTIONS=--import …):
 * on SIGUSR2 it does what fault.json in the working directory says.
 *
 *   {"fault": "block", "threads": "main" | "lanes" | "keeper", "ms": 6000}   the event loop stands still
 *   {"fault": "clock", "ms": -3600000}                                      the wall clock jumps, in all threads
 *
 * Each thread writes «fault begins» and «fault done» to standard error.
 */
import { readFileSync, writeSync } from 'node:fs';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';

const RealDate = Date;
let offsetMs = 0;

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + offsetMs);
    else super(...args);
  }

  static now() {
    return RealDate.now() + offsetMs;
  }
};

const threads = isMainThread ? 'main' : process.argv[1].includes('keeper') ? 'keeper' : 'lanes';

function say(word, fault) {
  writeSync(2, `fault ${word}: ${fault} in ${threads}\n`);
}

function suffer({ fault, threads: wanted, ms }) {
  if (fault === 'block' && wanted !== threads) return;
  say('begins', fault);
  if (fault === 'clock') offsetMs += ms;
  else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  say('done', fault);
}

const channel = new BroadcastChannel('thread-faults');
channel.addEventListener('message', (event) => suffer(event.data));
channel.unref();

if (isMainThread) {
  process.on('SIGUSR2', () => {
    const command = JSON.parse(readFileSync('fault.json', 'utf8'));
    channel.postMessage(command);
    suffer(command);
  });
}
