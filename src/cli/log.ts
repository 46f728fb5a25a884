import pc from 'picocolors';
import type { Log } from '../operator.ts';

const levels = ['debug', 'info', 'warn', 'error'] as const;
export type Level = (typeof levels)[number];

/** Log lines on standard error: JSON lines, or short coloured lines when a person is looking. Standard output is for data. */
export function createLog(level: Level, stream: NodeJS.WriteStream = process.stderr): Log {
  const least = levels.indexOf(level);
  const write = (line: Level, message: string, fields: Record<string, unknown> = {}): void => {
    if (levels.indexOf(line) < least) return;
    stream.write(stream.isTTY ? pretty(line, message, fields) : json(line, message, fields));
  };
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
  };
}

function json(level: Level, message: string, fields: Record<string, unknown>): string {
  return `${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`;
}

function pretty(level: Level, message: string, fields: Record<string, unknown>): string {
  const colour = { debug: pc.dim, info: pc.cyan, warn: pc.yellow, error: pc.red }[level];
  const rest = Object.entries(fields).map(([name, value]) => ` ${pc.dim(`${name}=`)}${String(value)}`);
  return `${pc.dim(new Date().toISOString().slice(11, 19))} ${colour(level.padEnd(5))} ${message}${rest.join('')}\n`;
}
