/**
 * `holdfast journal dump`: what is in the shards' journals and checkpoints, in
 * the words of docs/journal.md, for looking into what happened. It only reads.
 *
 * An embedded shard is read while no Holdfast runs on its folder; etcd at any
 * time, but the journal of a running cluster is cut while it is being read: an
 * entry may then be missing whose effects are in a newer checkpoint.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { defaultShards, readShardsFile, type ShardSettings } from '../config/shards.ts';
import { JournalError } from '../lock/codec.ts';
import {
  describeCheckpoint,
  describeEntry,
  type CheckpointDescription,
  type EffectDescription,
} from '../lock/dump.ts';
import { FolderLockError, lockFolder } from '../shard/embedded/folder-lock.ts';
import { openStore } from '../shard/open.ts';
import { prefixEnd, ShardError, type KeyValue, type ShardStore } from '../shard/store.ts';
import { CHECKPOINT_PREFIX, checkpointsOfSlot, JOURNAL_PREFIX, seqOfJournalKey } from '../slots/records.ts';
import { CommandError, Exit } from './exit.ts';

export interface DumpOptions {
  /** A shards file; without it, the embedded shards in `data`. */
  readonly shards?: string;
  readonly data: string;
  /** Only this shard. */
  readonly shard?: string;
  /** Only this slot. */
  readonly slot?: number;
  readonly json?: boolean;
}

const PAGE_KEYS = 256;

type Write = (line: string) => void;

interface Place {
  readonly shard: string;
  readonly key: string;
  readonly revision: number;
}

/**
 * Returns the exit code: 65 when something could not be read as a journal,
 * which is said in its place.
 *
 * @throws CommandError, ConfigError
 */
export async function dumpJournal(options: DumpOptions, write: Write): Promise<number> {
  const shards = chosenShards(options);
  const lock = lockEmbedded(shards, options.data);
  let isSound = true;
  try {
    for (const shard of shards) {
      const store = openStore(shard, options.data);
      try {
        isSound = (await dumpStore(store, options, write)) && isSound;
      } catch (error) {
        if (!(error instanceof ShardError)) throw error;
        throw new CommandError(Exit.unavailable, `shard ${shard.name} does not answer: ${error.message}`, {
          cause: error,
        });
      } finally {
        await store.close();
      }
    }
  } finally {
    lock?.release();
  }
  return isSound ? 0 : Exit.dataError;
}

function chosenShards({ shards: file, data, shard: name }: DumpOptions): readonly ShardSettings[] {
  const { shards } = file === undefined ? defaultShards() : readShardsFile(file);
  const chosen = name === undefined ? shards : shards.filter((shard) => shard.name === name);
  if (chosen.length === 0) {
    const names = shards.map((shard) => shard.name).join(', ');
    throw new CommandError(Exit.usage, `--shard is ${JSON.stringify(name)}; allowed: ${names}`);
  }
  for (const shard of chosen) {
    // Opening it would make it.
    if (shard.engine === 'embedded' && !existsSync(join(data, shard.name))) {
      throw new CommandError(
        Exit.noInput,
        `${join(data, shard.name)}: there is no data of shard ${shard.name}`,
      );
    }
  }
  return chosen;
}

function lockEmbedded(shards: readonly ShardSettings[], data: string): { release(): void } | undefined {
  if (!shards.some((shard) => shard.engine === 'embedded')) return undefined;
  try {
    return lockFolder(data);
  } catch (error) {
    if (!(error instanceof FolderLockError)) throw error;
    throw new CommandError(Exit.unavailable, `${error.message}; stop it to look at its journal`, {
      cause: error,
    });
  }
}

async function dumpStore(store: ShardStore, options: DumpOptions, write: Write): Promise<boolean> {
  let isSound = true;
  const show = (place: Place, describe: () => [string, object, readonly object[]]): void => {
    try {
      const [kind, where, items] = describe();
      if (items.length > 0)
        write(options.json ? jsonLine(place, kind, where, items) : textLines(place, items));
    } catch (error) {
      if (!(error instanceof JournalError)) throw error;
      isSound = false;
      const { shard, key } = place;
      write(
        options.json
          ? JSON.stringify({ ...place, error: error.message })
          : `${shard} ${key} UNREADABLE: ${error.message}`,
      );
    }
  };
  const prefix = options.slot === undefined ? CHECKPOINT_PREFIX : checkpointsOfSlot(options.slot);
  for await (const chunks of checkpointsOf(store, prefix)) {
    const [first] = chunks;
    const key = first.key.slice(0, first.key.lastIndexOf('/'));
    show({ shard: store.name, key, revision: first.modRevision }, () => {
      const records: CheckpointDescription[] = describeCheckpoint(chunks.map((chunk) => chunk.value));
      return ['checkpoint', { chunks: chunks.length }, records];
    });
  }
  for await (const { key, value, modRevision } of keysOf(store, JOURNAL_PREFIX)) {
    show({ shard: store.name, key, revision: modRevision }, () => {
      const effects: EffectDescription[] = describeEntry(value);
      const wanted = effects.filter((effect) => options.slot === undefined || effect.slot === options.slot);
      const term = key.slice(JOURNAL_PREFIX.length, key.lastIndexOf('/'));
      return ['entry', { term, seq: seqOfJournalKey(key) }, wanted];
    });
  }
  return isSound;
}

async function* keysOf(store: ShardStore, prefix: string): AsyncGenerator<KeyValue> {
  const end = prefixEnd(prefix);
  for (let from = prefix; ;) {
    const page = await store.range(from, end, { limit: PAGE_KEYS });
    yield* page.entries;
    const last = page.entries.at(-1);
    if (!page.more || last === undefined) return;
    from = `${last.key}\0`;
  }
}

/** The chunks of one checkpoint at a time: keys that differ in their last part only. */
async function* checkpointsOf(store: ShardStore, prefix: string): AsyncGenerator<KeyValue[]> {
  let chunks: KeyValue[] = [];
  const cutOf = (key: string): string => key.slice(0, key.lastIndexOf('/'));
  for await (const chunk of keysOf(store, prefix)) {
    if (chunks.length > 0 && cutOf(chunks[0].key) !== cutOf(chunk.key)) {
      yield chunks;
      chunks = [];
    }
    chunks.push(chunk);
  }
  if (chunks.length > 0) yield chunks;
}

function jsonLine(place: Place, kind: string, where: object, items: readonly object[]): string {
  const name = kind === 'entry' ? 'effects' : 'records';
  return JSON.stringify({ ...place, kind, ...where, [name]: items });
}

/** A heading, then a line for each item: its fields in the order they were described. */
function textLines({ shard, key, revision }: Place, items: readonly object[]): string {
  const lines = items.map((item) => {
    const words = Object.entries(item).map(([name, value]) => {
      return name === 'effect' || name === 'record' ? String(value) : `${name}=${JSON.stringify(value)}`;
    });
    return `  ${words.join(' ')}`;
  });
  return [`${shard} ${key} (revision ${revision})`, ...lines].join('\n');
}
