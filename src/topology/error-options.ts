import { duration, durationMs, type Static, Type } from '../operator.ts';
import type { Route } from './draft.ts';
import type { Surroundings } from './interpolate.ts';
import { checkOptions } from './options.ts';
import { routeOf } from './pieces.ts';
import type { ErrorPolicy } from './plan.ts';
import type { Report } from './report.ts';
import { found, type OptionSchema, ValueReader } from './values.ts';
import { type Entry, siteAt, type Written } from './written.ts';

/** The schema of `onError` in full. */
export const errorOptions = Type.Object(
  {
    to: Type.Optional(
      Type.String({
        description:
          'Stream that takes the dead letters, or `drop`. Default: what the topology says, else a file in the state folder.',
        minLength: 1,
      }),
    ),
    retry: Type.Optional(
      Type.Object(
        {
          attempts: Type.Integer({ description: 'How often it is written in all.', minimum: 2, maximum: 1_000 }),
          backoff: Type.Optional(
            duration({
              description: 'Pause before the second time; it doubles from time to time, up to a minute.',
              default: '1s',
            }),
          ),
        },
        {
          additionalProperties: false,
          description:
            'Sinks: what the target refuses is written again before it becomes a dead letter. What cannot be reached is waited for in any case.',
        },
      ),
    ),
    stopAt: Type.Optional(
      Type.Object(
        {
          share: Type.Number({
            description: 'Share of the records that come to the step.',
            exclusiveMinimum: 0,
            maximum: 1,
            examples: [0.5],
          }),
          over: Type.Optional(duration({ description: 'It is that of the records of so long.', default: '1m' })),
          atLeast: Type.Optional(
            Type.Integer({ description: 'Fewer records than these say nothing.', minimum: 1, default: 100 }),
          ),
        },
        { additionalProperties: false, description: 'The run ends when the step rejects this share of its records.' },
      ),
    ),
  },
  {
    additionalProperties: false,
    description:
      'What becomes of what is rejected: `fail` ends the run, `drop` counts it and goes on, and the name of a stream takes it as a dead letter. `otherwise: x` is short for `{ to: x }`.',
  },
);

/** The same, for what reads schemas. */
export const errorSchema = errorOptions as unknown as OptionSchema;

/** What `otherwise` and `onError` say together. */
export interface OnErrorRead {
  readonly otherwise?: Route;
  readonly onError?: ErrorPolicy;
}

/** Reads `otherwise` and its long form `onError`. `retries`: whether trying again can help; `undefined` where nobody knows. */
export function readOnError(
  entries: ReadonlyMap<string, Entry>,
  { name, retries }: { name: string; retries: boolean | undefined },
  from: Surroundings,
  report: Report,
): OnErrorRead {
  const otherwise = routeOf(entries.get('otherwise')?.value, report);
  const entry = entries.get('onError');
  if (!entry) return otherwise ? { otherwise } : {};
  if (entries.has('otherwise')) {
    report.add('bad-value', entry.key, `\`onError\` and \`otherwise\` of ${name} both say what becomes of errors.`, {
      hint: '`otherwise: x` is short for `onError: { to: x }`: write one of them.',
    });
  }
  const { value: node } = entry;
  if (node.kind !== 'map') {
    if (node.kind === 'scalar' && node.value === 'fail')
      return { ...(otherwise && { otherwise }), onError: { fail: true } };
    const route = routeOf(node, report, 'onError') ?? otherwise;
    return route ? { otherwise: route } : {};
  }
  const policy = readPolicy(node, from, report);
  if (policy?.retry && retries === false) {
    report.add(
      'bad-value',
      siteAt(node, ['retry'], 'key'),
      `\`retry\` means nothing for ${name}, which gives the same answer each time.`,
      {
        hint: 'Drop it. Only what a sink writes can be taken at a second try.',
      },
    );
  }
  const to = node.entries.get('to')?.value;
  const route = (to && routeOf(to, report, 'to')) ?? otherwise;
  return { ...(route && { otherwise: route }), ...(policy && Object.keys(policy).length > 0 && { onError: policy }) };
}

function readPolicy(node: Written, from: Surroundings, report: Report): ErrorPolicy | undefined {
  const before = report.size;
  const reader = new ValueReader(from, report);
  const value = reader.read(node, [errorSchema]);
  const checked = { definition: { options: errorOptions }, name: 'onError', written: node, report };
  checkOptions({ ...checked, unread: reader.unread }, value);
  if (report.size > before || reader.unread.size > 0) return undefined;
  const { retry, stopAt } = value as Static<typeof errorOptions>;
  return {
    ...(retry && {
      retry: {
        attempts: retry.attempts,
        backoffMs: lengthOf(node, ['retry', 'backoff'], retry.backoff ?? '1s', report),
      },
    }),
    ...(stopAt && {
      stopAt: {
        share: stopAt.share,
        overMs: lengthOf(node, ['stopAt', 'over'], stopAt.over ?? '1m', report),
        atLeast: stopAt.atLeast ?? 100,
      },
    }),
  };
}

function lengthOf(node: Written, path: readonly string[], text: string, report: Report): number {
  const ms = Math.round(durationMs(text));
  if (ms >= 1 && ms <= 86_400_000) return ms;
  const site = siteAt(node, path);
  report.add(
    'bad-value',
    site,
    `\`onError.${path.join('.')}\` must be between 1ms and 1d, but is ${found(site as Written)}.`,
    {
      hint: `For example: \`${path.at(-1)}: 10s\`.`,
    },
  );
  return 1;
}

/** `otherwise` and `onError` as options that give them again. */
export function onErrorToOptions({ otherwise, onError }: { otherwise?: string; onError?: ErrorPolicy }): object {
  if (onError === undefined) return otherwise === undefined ? {} : { otherwise };
  if (onError.fail) return { onError: 'fail' };
  const { retry, stopAt } = onError;
  return {
    onError: {
      ...(otherwise !== undefined && { to: otherwise }),
      ...(retry && { retry: { attempts: retry.attempts, backoff: `${retry.backoffMs}ms` } }),
      ...(stopAt && { stopAt: { share: stopAt.share, over: `${stopAt.overMs}ms`, atLeast: stopAt.atLeast } }),
    },
  };
}
