import { createHash } from 'node:crypto';
import { Secret } from '../secret.ts';
import type { Plan } from './plan.ts';

/** The plan as plain JSON: a function is `{ "function": name }`, a secret `***`. */
export function planToJson(plan: Plan): unknown {
  return plain(plan, (given) => ({ function: given.name || 'anonymous' }));
}

/**
 * A hash over what decides the results: streams, steps and options, with the text of functions, and what bounds the state. Descriptions, secrets, buffers, types (they follow
 * from the rest) and the order of options do not count.
 */
export function planHash({
  version,
  name,
  otherwise,
  onError,
  state: { ttl, maxKeys, overflow } = {},
  streams,
}: Plan): string {
  const counted = streams.map((stream) => ({
    ...stream,
    steps: stream.steps.map(({ description, type, buffer, ...step }) => step),
  }));
  const text = JSON.stringify(
    sorted(plain({ version, name, otherwise, onError, ttl, maxKeys, overflow, streams: counted }, String)),
  );
  return createHash('sha256').update(text).digest('hex');
}

type Given = (...given: never[]) => unknown;

function plain(value: unknown, named: (given: Given) => unknown): unknown {
  if (typeof value === 'function') return named(value as Given);
  if (value instanceof Secret) return '***';
  if (Array.isArray(value)) return value.map((item) => plain(item, named));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item, named)]));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}
