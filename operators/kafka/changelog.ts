import { type Log, RunError } from '../../src/operator.ts';
import { type Admin, type Driver, Trouble } from './driver.ts';

/** A name that is no Unicode text, which UTF-8 cannot hold, is kept as UTF-16 behind this byte. UTF-8 never has it. */
const utf16 = 0xff;

/** The message key for a name. Different names have different keys, whatever characters they hold. */
export function encodeName(name: string): Buffer {
  return /\p{Surrogate}/u.test(name)
    ? Buffer.concat([Buffer.of(utf16), Buffer.from(name, 'utf16le')])
    : Buffer.from(name);
}

/** The name that a message key was made from. */
export function decodeName(key: Buffer): string {
  return key[0] === utf16 ? key.toString('utf16le', 1) : key.toString('utf8');
}

/** What to look for and, when it is not there, to make. */
export interface ChangelogSettings {
  readonly topic: string;
  /** The topic that is read: the changelog has as many partitions. */
  readonly source: string;
  readonly replication: number | undefined;
}

/** Looks for the changelog topic, or makes it: compacted, with as many partitions as the source topic. */
export async function prepareChangelog(
  driver: Driver,
  settings: ChangelogSettings,
  log: Log,
  where: string,
): Promise<void> {
  const { topic, source, replication } = settings;
  await driver.admin(async (admin) => {
    const wanted = (await admin.offsets(source)).size;
    const there = await countPartitions(admin, topic);
    if (there === undefined) {
      await admin.create(topic, wanted, replication, { 'cleanup.policy': 'compact' });
      log.info(`Made the changelog topic \`${topic}\`.`, { partitions: wanted });
      return;
    }
    if (there !== wanted) throw new RunError(otherCount(topic, there, source, wanted), { where });
    const policy = await admin.setting(topic, 'cleanup.policy');
    if (policy !== undefined && policy !== 'compact') {
      log.warn(
        `The changelog topic \`${topic}\` has \`cleanup.policy: ${policy}\`, expected \`compact\`: ` +
          `${policy.includes('delete') ? 'Kafka removes state that is in use' : 'it grows without end'}. Set it to \`compact\`.`,
      );
    }
  });
}

async function countPartitions(admin: Admin, topic: string): Promise<number | undefined> {
  try {
    return (await admin.offsets(topic)).size;
  } catch (error) {
    if (error instanceof Trouble && error.kind === 'unknownTopic') return undefined;
    throw error;
  }
}

function otherCount(topic: string, there: number, source: string, wanted: number): string {
  return (
    `The changelog topic \`${topic}\` has ${there} partitions, but topic \`${source}\`, whose state it keeps, has ${wanted}. They must have the same ` +
    'number: which key belongs to which partition changes with it. If partitions were added to the source, begin anew with another `state.topic`' +
    `${there < wanted ? ', or, where nothing is partitioned by key, add partitions to the changelog topic' : ''}.`
  );
}
