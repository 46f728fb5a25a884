import type { SendBack } from '../../src/operator.ts';
import { type Connection, topicProblem } from './options.ts';
import { matching, namedTopics, patternOf, type TopicChoice } from './subscription.ts';

/**
 * Where to put a message back: the topic it came from, when the source reads it. Keys that are no plain text are not kept as they were, and a
 * message with a key in base64, of a schema, or left unread cannot be given back as it was.
 */
export function sendBack(
  options: Connection & TopicChoice & { readonly keyFormat?: string },
  topic: string | undefined,
): SendBack | undefined {
  const { brokers, ssl, sasl, keyFormat = 'text' } = options;
  if (topic === undefined || topicProblem(topic) !== undefined || keyFormat !== 'text') return undefined;
  const pattern = patternOf(options);
  if (!namedTopics(options).includes(topic) && !(pattern && matching(pattern, [topic]).length > 0)) return undefined;
  const access = { brokers, ...(ssl !== undefined && { ssl }), ...(sasl && { sasl }) };
  return { sink: 'kafka', options: { ...access, topic, forwardHeaders: true } };
}
