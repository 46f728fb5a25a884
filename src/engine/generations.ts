import { isSound, printable } from './codec.ts';
import { isWhole, parseChunkName, readChunk, valueAt } from './delta.ts';

/** So many checkpoints can be gone back to, the newest one included. */
export const keptCheckpoints = 3;

/** What one checkpoint changed, and the idle steps after it: kept apart from the base as long as it may be given up. */
export interface Generation {
  readonly id: number;
  readonly chunks: string[];
  bytes: number;
  /** The chunks themselves, once they have been read. */
  content?: Buffer[];
}

/** What is in a state file. */
export interface Inspection {
  readonly count: number;
  /** Checkpoints whose changes are whole, oldest first. */
  readonly generations: Generation[];
  /** Chunks from the first damaged checkpoint on. */
  readonly dropped: readonly string[];
  /** The newest checkpoint that had been written. */
  readonly newest: number | undefined;
  /** What is damaged in the dropped ones. */
  readonly damage: string | undefined;
  /** There are values that stand by themselves, by name: the base that earlier releases kept. */
  readonly hasBase: boolean;
  /** Names of damaged values in there. */
  readonly broken: readonly string[];
}

/** Looks at every entry of a state file, in the order of their names. */
export function inspect(entries: Iterable<[name: string, bytes: Buffer]>): Inspection {
  const generations: Generation[] = [];
  const dropped: string[] = [];
  const broken: string[] = [];
  let count = 0;
  let hasBase = false;
  let damage: string | undefined;
  let newest: number | undefined;
  for (const [name, bytes] of entries) {
    count++;
    const place = parseChunkName(name);
    if (place === undefined) {
      hasBase = true;
      if (!isSound(name, bytes)) broken.push(name);
      continue;
    }
    const last = generations.at(-1);
    newest = place.checkpoint;
    damage ??= follows(last, place)
      ? isWhole(name, bytes)
        ? undefined
        : `checkpoint ${place.checkpoint}: ${damageIn(bytes)}`
      : `checkpoint ${last === undefined ? place.checkpoint : Math.min(place.checkpoint, last.id + 1)}: a part is missing`;
    if (damage !== undefined) {
      dropped.push(name);
      // A checkpoint that is damaged further on is damaged as a whole.
      if (last?.id === place.checkpoint) dropped.push(...generations.pop()!.chunks);
    } else if (last?.id === place.checkpoint) {
      last.chunks.push(name);
      last.content!.push(bytes);
      last.bytes += bytes.length;
    } else generations.push({ id: place.checkpoint, chunks: [name], bytes: bytes.length, content: [bytes] });
  }
  return { count, generations, dropped, newest, damage, hasBase, broken };
}

function follows(last: Generation | undefined, { checkpoint, index }: { checkpoint: number; index: number }): boolean {
  if (last?.id === checkpoint) return index === last.chunks.length;
  return index === 0 && (last === undefined || checkpoint === last.id + 1);
}

/** Names the values of a chunk that are damaged, as far as they can be told. */
function damageIn(chunk: Buffer): string {
  const bad: string[] = [];
  readChunk(chunk, (name, at) => {
    const bytes = valueAt(chunk, at);
    if (bytes !== null && !isSound(name, bytes)) bad.push(name);
  });
  return bad.length === 0 ? 'its list of changes' : describe(bad);
}

/** Values as a user knows them: step and key. */
export function describe(names: readonly string[]): string {
  const [first, ...others] = names.map((name) => {
    const [kind, step, task, ...key] = name.split('\u0000');
    if (kind !== 'state' || key.length === 0) return `the value \`${printable(name)}\``;
    return `step \`${printable(step!)}\`, key \`${printable(key.join('·').slice(2))}\` of \`${printable(task!)}\``;
  });
  return others.length === 0 ? String(first) : `${first} and ${others.length} more`;
}
