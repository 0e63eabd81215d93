/**
 * What the process says while it runs. For people: lines on standard error,
 * in colour on a terminal, and the one line that it is ready on standard
 * output. For machines (`--log json`): everything as JSON lines on standard
 * output. Never a lock token, a key or a password.
 */
import { pino, type Logger } from 'pino';
import { PinoPretty } from 'pino-pretty';

export type Log = Logger;
export type LogFormat = 'pretty' | 'json';

const OPTIONS = {
  // Neither pid nor host name: whoever collects the lines knows them.
  base: null,
  timestamp: () => `,"time":"${new Date().toISOString()}"`,
  formatters: { level: (label: string) => ({ level: label }) },
};

/** Written synchronously: a line is out before the process can end. There are few of them, none an op. */
export function openLog(format: LogFormat): Log {
  if (format === 'json') return pino(OPTIONS, pino.destination({ fd: 1, sync: true }));
  const lines = PinoPretty({
    destination: 2,
    sync: true,
    colorize: process.stderr.isTTY,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname',
    singleLine: true,
  });
  return pino({ ...OPTIONS, formatters: {} }, lines);
}

/** Says that the service is ready; scripts wait for exactly this. */
export function announceListening(log: Log, format: LogFormat, url: string): void {
  if (format === 'json') log.info({ url }, 'listening');
  else process.stdout.write(`holdfast listening on ${url}\n`);
}
