/** Addresses of hosts and processes, as settings and term records have them. */
import { BlockList, isIP } from 'node:net';

export interface HostAndPort {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** As in a URL: `[::1]`. */
export function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1');
}

/** A loopback address or `localhost`. */
export function isLoopback(host: string): boolean {
  const address = withoutBrackets(host);
  const version = isIP(address);
  if (version === 0) return host.toLowerCase() === 'localhost';
  return LOOPBACK.check(address, version === 4 ? 'ipv4' : 'ipv6');
}

/** An IP address, in brackets or not, or a host name. */
export function isHost(host: string): boolean {
  return isIP(withoutBrackets(host)) !== 0 || (host.length <= 253 && isHostName(host));
}

/** It stands for all addresses of the machine. */
export function isWildcard(host: string): boolean {
  return /^(?:0\.0\.0\.0|[0:]+)$/.test(withoutBrackets(host));
}

/** HOST:PORT, an IPv6 address in brackets; undefined: it is none. */
export function parseAddress(address: string): HostAndPort | undefined {
  const match = /^(\[[0-9a-fA-F:.]{2,45}\]|[\w.-]{1,253}):(\d{1,5})$/.exec(address);
  if (match === null) return undefined;
  const [, host, digits] = match;
  const port = Number(digits);
  if (port < 1 || port > 65_535) return undefined;
  if (host.startsWith('[')) {
    return isIP(withoutBrackets(host)) === 6 ? { host: withoutBrackets(host), port } : undefined;
  }
  return isIP(host) === 4 || isHostName(host) ? { host, port } : undefined;
}

/** HOST:PORT at a loopback address. */
export function isLoopbackAddress(address: string): boolean {
  const parsed = parseAddress(address);
  return parsed !== undefined && isLoopback(parsed.host);
}

/** Labels of letters, digits, `-` and `_`; the last one is no number, or it would be taken for an IPv4 address. */
function isHostName(host: string): boolean {
  const labels = host.split('.');
  const fine = labels.every((label) => /^(?!-)[\w-]{1,63}(?<!-)$/.test(label));
  return fine && !/^\d+$/.test(labels[labels.length - 1]);
}
