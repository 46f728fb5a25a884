#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import pc from 'picocolors';
import { RunError } from '../errors.ts';
import { Exit, exitCodes } from './exit.ts';

const leftOpenMs = 2_000;
const collect = (value: string, before: string[]): string[] => [...before, value];

function withLoading(command: Command): Command {
  return (
    command
      .option('--set <name=value>', 'give a param of the topology a value; may stand several times', collect, [])
      // Node takes `--env-file` for its own, wherever it stands, and ends before this program begins when the file is missing: hence `-e`.
      .option('-e, --env-file <file>', 'read environment variables from a file; may stand several times', collect, [])
      .option('--json', 'print what a program can read, to standard output')
  );
}

function withState(command: Command): Command {
  return withLoading(command).option('--state <folder>', 'the state folder; then no topology is needed');
}

function withRunning(command: Command): Command {
  return command
    .option('--for <duration>', 'stop by itself after so long, such as 30s')
    .option('--state <folder>', 'folder for checkpoints, journals and dead letters')
    .option('--fresh', 'drop the checkpoints of that folder and start anew')
    .option(
      '--discard <id>',
      'drop the state of this step, or the position of this source, first; may stand several times',
      collect,
      [],
    )
    .option('--checkpoint <duration>', "take a checkpoint so often; 5s unless the topology's `state` says otherwise")
    .option(
      '--drain',
      'when stopping, close the open windows with what they hold instead of keeping them for the next start',
    )
    .option(
      '--no-flush',
      'when all inputs have ended, keep the open windows for the next start instead of closing them',
    )
    .option('--shutdown-timeout <duration>', 'wait so long for the sinks when stopping', '30s')
    .addOption(new Option('--log-level <level>').choices(['debug', 'info', 'warn', 'error']).default('info'));
}

// Each command loads its own code: `lint` and `--help` need no client library.
function program(): Command {
  const penstock = new Command('penstock')
    .description('Runs stream topologies: event-time windows, keyed state, checkpoints.')
    .version(version())
    .showHelpAfterError('(add --help for what a command takes)')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, pc.red('error'))) })
    .exitOverride();

  withRunning(withLoading(penstock.command('run [file]')))
    .description('run a topology until its inputs end or it is stopped')
    .action(async (file, flags) => (await import('./run.ts')).runCommand(file, flags));
  withRunning(withLoading(penstock.command('dev [file]')))
    .description('run a topology with an MQTT broker inside this process')
    .addOption(
      new Option('--mqtt-port <port>', 'port of that broker on 127.0.0.1; 0 takes a free one')
        .argParser(checkedPort)
        .default('0'),
    )
    .action(async (file, flags) => (await import('./dev.ts')).devCommand(file, flags));
  withLoading(penstock.command('lint [files...]'))
    .description('check topologies and print every problem')
    .addOption(new Option('--format <format>').choices(['pretty', 'json', 'github']).default('pretty'))
    .action(async (files, flags) => (await import('./lint-command.ts')).lintCommand(files, flags));
  penstock
    .command('test [files...]')
    .description('run the tests of topologies, on virtual time and without a connection')
    .option('--set <name=value>', 'give a param of the topology a value; may stand several times', collect, [])
    .option(
      '--update',
      'write what came out into the tests that failed, with the comments that are there; not where CI is set',
    )
    .option('--json', 'print what a program can read, to standard output')
    .action(async (files, flags) => (await import('./test-command.ts')).testCommand(files, flags));
  withLoading(penstock.command('plan [file]'))
    .description('print what a topology compiles to, and what each sink guarantees')
    .option('--against <folder>', 'say what becomes of the state in this folder; code 1 when some of it would be lost')
    .action(async (file, flags) => (await import('./plan.ts')).planCommand(file, flags));
  addLookingBack(penstock);
  addMqttUsers(penstock);
  withRunning(penstock.command('simulate'))
    .description('publish readings of emergency generators to an MQTT broker')
    .option('--json', 'print what was done as JSON')
    .option('--url <url>', 'the broker', process.env['MQTT_URL'] ?? 'mqtt://127.0.0.1:1883')
    .option('--topic <template>', 'topic of a reading; {key} is the generator', 'emergency_generators/{key}')
    .option('--qos <0|1|2>', 'quality of service', '1')
    .option('--username <name>', 'user at the broker; the password comes from MQTT_PASSWORD')
    .option('--generators <n>', 'how many generators', '3')
    .option('--every <duration>', 'each takes a reading so often', '1s')
    .option('--count <n>', 'end after so many readings')
    .option('--seed <n>', 'the same seed gives the same readings', '1')
    .option('--start <time>', 'time of the first readings, RFC 3339')
    .option('--fast', 'do not wait between readings')
    .option('--disorder <share>', 'share of readings that come late', '0')
    .option('--bad-payloads <share>', 'share of readings that are broken', '0')
    .option('--drop-outs <share>', 'share of readings that are missing', '0')
    .action(async (flags) => (await import('./simulate.ts')).simulateCommand(flags));
  return penstock;
}

/** The commands that look at what a topology has done, or keeps. */
function addLookingBack(penstock: Command): void {
  withLoading(penstock.command('replay [file]'))
    .description('read part of the input again, print what the sinks would have written, and compare')
    .option('--from <time>', 'event time of the first records, such as 2026-11-01T00:00Z')
    .option('--to <time>', 'event time behind the last records')
    .option('--grace <duration>', 'a record may have been stored so long before or after its time', '1h')
    .option('--source <id>', 'read only this source; may stand several times', collect, [])
    .option('--sink <where>', 'print, live (the sinks of the topology write), or the path of a new file', 'print')
    .option('--state <folder>', 'state folder of the run, where its sources keep what they have read')
    .option(
      '--with-idle-log',
      'move event time on over silent inputs where the run did: what it called late, or closed early, is so again',
    )
    .option('--no-flush', 'leave out the windows that are still open at the end')
    .option('--diff', 'compare with what the sinks have written; code 1 when it is not the same')
    .addOption(new Option('--log-level <level>').choices(['debug', 'info', 'warn', 'error']).default('warn'))
    .action(async (file, flags) => (await import('./replay.ts')).replayCommand(file, flags));
  addDeadLetters(penstock);
  addJournals(penstock);
  const state = penstock
    .command('state')
    .description('look at the state of a topology that is not running, and drop parts of it');
  withState(state.command('list [file]'))
    .description('list steps, keys, positions and watermarks')
    .action(async (file, flags) => (await import('./state.ts')).listCommand(file, flags));
  withState(state.command('inspect <step> <key> [file]'))
    .description('print the state of one key')
    .action(async (step, key, file, flags) => (await import('./state.ts')).inspectCommand(step, key, file, flags));
  withState(state.command('export [file]'))
    .description('print the checkpoint and the state of every key, as lines of JSON')
    .option('--step <id>', 'of this step only; may stand several times', collect, [])
    .action(async (file, flags) => (await import('./state.ts')).exportCommand(file, flags));
  withState(state.command('compact [file]'))
    .description('give back the room that old state has left free in the state file')
    .action(async (file, flags) => (await import('./state.ts')).compactCommand(file, flags));
  withState(state.command('reset [file]'))
    .description('drop the state of steps and the positions of sources')
    .option('--step <id>', 'this step or source; may stand several times', collect, [])
    .option('--all', 'everything but the journals')
    .option('--yes', 'do it; without this, say what would be dropped')
    .action(async (file, flags) => (await import('./state.ts')).resetCommand(file, flags));
  withLoading(penstock.command('why [file]'))
    .description(
      'say why a window of a running topology has not fired yet: what holds event time back, and what waits for it',
    )
    .option('--state <folder>', 'state folder of the run')
    .action(async (file, flags) => (await import('./why.ts')).whyCommand(file, flags));
}

/** Who may connect to an `mqttServer`. A password never stands on the command line, where every process can see it. */
function addMqttUsers(penstock: Command): void {
  const users = penstock.command('mqtt-user').description('write the user file of an mqttServer source');
  users
    .command('add <file> <name>')
    .description('add a user, or give one another password: the first line of standard input')
    .option('--password-env <name>', 'take the password from this environment variable')
    .action(async (file, name, flags) => (await import('./mqtt-user.ts')).addCommand(file, name, flags));
  users
    .command('remove <file> <name>')
    .description('take a user out')
    .action(async (file, name) => (await import('./mqtt-user.ts')).removeCommand(file, name));
  users
    .command('list <file>')
    .description('print the names of all users')
    .action(async (file) => (await import('./mqtt-user.ts')).listCommand(file));
}

/** The commands about dead letters. */
function addDeadLetters(penstock: Command): void {
  const dlq = penstock.command('dlq').description('look at the dead letters of a topology, and put them back');
  const withLetters = (command: Command) =>
    withLoading(command)
      .option('--stream <name>', 'of this stream only; of all that take dead letters unless given')
      .option('--where <expression>', 'CEL over the dead letter, such as \'step == "in" && attempt > 1\'')
      .option('--limit <n>', 'at most so many')
      .option('--state <folder>', 'state folder of the run');
  withLetters(dlq.command('list [file]'))
    .description('count dead letters by step and code')
    .action(async (file, flags) => (await import('./dlq.ts')).listCommand(file, flags));
  withLetters(dlq.command('show [file]'))
    .description('print dead letters whole; one unless --limit says more')
    .action(async (file, flags) => (await import('./dlq.ts')).showCommand(file, flags));
  withLetters(dlq.command('redrive [file]'))
    .description('put the payloads back to where the sources read them, marked with the header penstock-redriven')
    .option('--to <file>', 'append them to this file instead, one a line')
    .option('--dry-run', 'only print what would be put back')
    .action(async (file, flags) => (await import('./dlq.ts')).redriveCommand(file, flags));
}

/** The commands about journals: of sources, of `journal` sinks, and of buffers. */
function addJournals(penstock: Command): void {
  const journal = penstock
    .command('journal')
    .description('look at journals on this machine, beside whoever writes them');
  journal
    .command('list <folder>')
    .description('print the journals in a folder, such as a state folder')
    .option('--json', 'print what a program can read, to standard output')
    .action(async (folder, flags) => (await import('./journal.ts')).listCommand(folder, flags));
  journal
    .command('cat <folder>')
    .description('print the records of a journal, or those that wait in the buffer of a sink')
    .option('--from <moment>', 'those that arrived then or later')
    .option('--to <moment>', 'those that arrived before')
    .option('--limit <n>', 'at most so many')
    .option('--follow', 'wait for more at the end')
    .option('--json', 'print what a program can read, to standard output')
    .action(async (folder, flags) => (await import('./journal.ts')).catCommand(folder, flags));
}

function checkedPort(text: string): string {
  if (/^\d{1,5}$/.test(text) && Number(text) < 65536) return text;
  throw new Exit(exitCodes.usage, `--mqtt-port takes a port from 0 to 65535, but got \`${text}\`.`);
}

function version(): string {
  // Two levels up in the sources and in the bundle, three where nothing is bundled.
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {}
  }
  return 'unknown';
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (error instanceof Exit) {
    if (error.message !== '') process.stderr.write(`${pc.red('error')} ${error.message}\n`);
    return error.exitCode;
  }
  if (error instanceof RunError) {
    process.stderr.write(`${pc.red('error')} ${error.message}\n`);
    return exitCodes.failed;
  }
  // Not foreseen: whoever reports it needs the stack.
  process.stderr.write(`${(error as Error).stack ?? String(error)}\n`);
  return exitCodes.failed;
}

try {
  await program().parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
}
// All is done and closed: what a client library has left open must not keep the process alive.
setTimeout(() => process.exit(), leftOpenMs).unref();
