/** What a measurement was made on, as names and values for people. */
import { readFileSync, statfsSync } from 'node:fs';
import { arch, cpus, loadavg, release, totalmem, type } from 'node:os';
import { resolve, sep } from 'node:path';

/** @param folder the filesystem it lies on is named: where the data was written */
export function machine(folder: string): [name: string, value: string][] {
  const models = new Set(cpus().map((cpu) => cpu.model.trim()));
  const { bsize, blocks, bavail } = statfsSync(folder);
  return [
    ['processor', [...models].join(', ') || arch()],
    ['cores', String(cpus().length)],
    ['memory', gibibytes(totalmem())],
    ['system', [distribution(), `${type()} ${release()}`, arch()].filter((part) => part !== '').join(', ')],
    ['virtual machine', /^flags\s*:.*\bhypervisor\b/m.test(textOf('/proc/cpuinfo')) ? 'yes' : 'not known'],
    ['filesystem of the data', filesystemOf(folder)],
    ['disk', `${gibibytes(bsize * bavail)} free of ${gibibytes(bsize * blocks)}`],
    ['Node', `${process.version} (V8 ${process.versions.v8}, libuv ${process.versions.uv})`],
    ['load before it (1 min)', loadavg()[0].toFixed(2)],
  ];
}

/** «ext4 on /dev/vda, relatime»: the mount that the folder lies below, and how it is mounted. */
function filesystemOf(folder: string): string {
  const path = resolve(folder);
  let best = { at: '', shown: 'not known' };
  for (const line of textOf('/proc/self/mountinfo').split('\n')) {
    const [left, right] = line.split(' - ');
    if (right === undefined) continue;
    const fields = left.split(' ');
    const at = fields[4].replaceAll('\\040', ' ');
    const [kind, device] = right.split(' ');
    const isAbove = path === at || path.startsWith(at.endsWith(sep) ? at : at + sep);
    if (isAbove && at.length >= best.at.length) best = { at, shown: `${kind} on ${device}, ${fields[5]}` };
  }
  return best.shown;
}

function distribution(): string {
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(textOf('/etc/os-release'))?.[1] ?? '';
}

/** Empty where there is no such file, as on other systems than Linux. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
