/**
 * A bare uWebSockets.js server that says hello to every request: what HTTP on
 * this machine can do at most. Its only argument is the port.
 */
import uWS from 'uWebSockets.js';

const port = Number(process.argv[2]);
uWS
  .App()
  .any('/*', (response) => void response.end('hello'))
  .listen('127.0.0.1', port, (socket) => {
    if (socket === false) process.exit(1);
    process.stdout.write('listening\n');
  });
process.on('disconnect', () => process.exit());
