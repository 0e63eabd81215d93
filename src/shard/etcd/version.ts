/**
 * Which etcd versions Holdfast wants. Older ones can end leases that were kept
 * alive, or report dead ones as alive: that costs availability, never safety,
 * because no answer rests on a lease.
 */

/** A sentence for people when `version` (of a member) is older than wanted; undefined otherwise. */
export function versionWarning(version: string): string | undefined {
  const match = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version);
  if (match === null) return `etcd reports the version ${JSON.stringify(version)}, which is not understood`;
  const [major, minor, patch] = match.slice(1).map(Number);
  if (major !== 3 || minor > 6) return undefined;
  if (minor === 6 && patch >= 5) return undefined;
  if (minor === 5 && patch >= 23) return undefined;
  return `etcd ${version} can lose leases that are kept alive, which costs fail-overs; 3.5.23, 3.6.5 or newer is advised`;
}
