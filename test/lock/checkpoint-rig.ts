/** Checkpoints to look at: of a full slot, loaded, and tampered with. */
import { crc32 } from 'node:zlib';
import { loadCheckpoint } from '../../src/lock/checkpoint.ts';
import { Slot } from '../../src/lock/slot.ts';
import { ENDED_KEEP_MS, SLOT, SlotRig } from './slot-rig.ts';

export function load(chunks: readonly Uint8Array[]): Slot {
  const slot = new Slot(SLOT, ENDED_KEEP_MS);
  loadCheckpoint(slot, chunks, 1_000);
  return slot;
}

/** The chunk with other content and a checksum that is right. */
export function sealed(chunk: Uint8Array, change: (bytes: Uint8Array) => Uint8Array | void): Uint8Array {
  const body = chunk.slice(0, -4);
  const changed = change(body) ?? body;
  const out = new Uint8Array(changed.length + 4);
  out.set(changed);
  new DataView(out.buffer).setUint32(changed.length, crc32(changed), true);
  return out;
}

export function full(counter = 0): SlotRig {
  const rig = new SlotRig();
  rig.slot.counter = counter;
  for (let i = 0; i < 60; i++) {
    rig.run({
      kind: 'acquire',
      name: `name ${i} ${'n'.repeat(i)}`,
      token: i % 2 ? `uuid:${i}` : `t${i}`,
      owner: 'o'.repeat(i),
    });
    if (i % 3 === 0)
      rig.run({ kind: 'release', name: `name ${i} ${'n'.repeat(i)}`, token: i % 2 ? `uuid:${i}` : `t${i}` });
    rig.now += 10;
  }
  return rig;
}
