import { RE2JS } from 're2js';
import { duration, durationMs, Type, type TypeCheck } from '../../src/operator.ts';

/** Which topics are read: by name, or all whose whole name matches a pattern. */
export interface TopicChoice {
  readonly topic?: string;
  readonly topics?: readonly string[] | TopicPattern;
}

export interface TopicPattern {
  readonly pattern: string;
  readonly every?: string;
}

const topicName = (description: string) =>
  Type.String({ description, minLength: 1, maxLength: 249, pattern: '^[a-zA-Z0-9._-]+$' });

/** The options `topic` and `topics`. */
export const topicOptions = {
  topic: Type.Optional(topicName('The topic to read.')),
  topics: Type.Optional(
    Type.Unsafe<readonly string[] | TopicPattern>({
      description: 'Several topics to read: their names, or a pattern of names.',
      anyOf: [
        Type.Array(topicName('A topic.'), { minItems: 1, uniqueItems: true }),
        Type.Object(
          {
            pattern: Type.String({
              description:
                'All topics whose whole name matches this regular expression (RE2), without those of Kafka itself, whose names begin with `__`.',
              minLength: 1,
              maxLength: 1_000,
            }),
            every: Type.Optional(
              duration({ description: 'How often to look for new topics that match.', default: '5m' }),
            ),
          },
          { additionalProperties: false },
        ),
      ],
      examples: [['readings', 'alarms'], { pattern: 'sensors\\..*' }],
    }),
  ),
};

/** Reports a choice that is none, or two, and a pattern that cannot be used. */
export function checkTopics({ topic, topics }: TopicChoice, check: TypeCheck): void {
  if ((topic === undefined) === (topics === undefined)) {
    check.problem(
      [],
      topic === undefined ? 'Nothing says which topic to read.' : 'Both `topic` and `topics` are given.',
      'Write `topic: readings`, or `topics: [readings, alarms]`.',
    );
  }
  const pattern = patternOf({ ...(topics && { topics }) });
  if (pattern === undefined) return;
  try {
    RE2JS.compile(pattern.pattern);
  } catch (error) {
    const hint = 'Patterns are RE2, which runs in linear time: no look-ahead, no look-behind and no back-references.';
    check.problem(['topics', 'pattern'], `\`${pattern.pattern}\` is no pattern: ${(error as Error).message}.`, hint);
  }
}

/** The pattern, where topics are chosen by one. */
export function patternOf({ topics }: TopicChoice): TopicPattern | undefined {
  return topics !== undefined && 'pattern' in topics ? topics : undefined;
}

/** The topics that are named, each once. */
export function namedTopics({ topic, topics = [] }: TopicChoice): string[] {
  return [...new Set([...('pattern' in topics ? [] : topics), ...(topic === undefined ? [] : [topic])])];
}

/** The topics of these that the pattern is meant for, in the order of their names. */
export function matching({ pattern }: TopicPattern, names: readonly string[]): string[] {
  const compiled = RE2JS.compile(pattern);
  return names.filter((name) => !name.startsWith('__') && compiled.testExact(name)).sort();
}

/** How often to look for new topics, in ms. */
export function lookMs({ every = '5m' }: TopicPattern): number {
  return durationMs(every);
}
