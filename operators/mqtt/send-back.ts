import { compileTopic, publishProblem, type SendBack } from '../../src/operator.ts';
import type { ConnectionOptions } from './options.ts';

/**
 * Where to put a message back: the topic it came from, when the source subscribes to it. MQTT 3.1.1 has no place for the mark; user properties
 * that the message came with are not repeated.
 */
export function sendBack(
  options: ConnectionOptions & { readonly topics: string | readonly string[] },
  topic: string | undefined,
  redriven: number,
): SendBack | undefined {
  const { url, username, password, tls, protocolVersion } = options;
  if (topic === undefined || publishProblem(topic) !== undefined) return undefined;
  if (![options.topics].flat().some((pattern) => compileTopic(pattern as string).match(topic))) return undefined;
  const mark = protocolVersion === 5 && { userProperties: { 'penstock-redriven': String(redriven) } };
  const access = {
    url,
    ...(username !== undefined && { username }),
    ...(password && { password }),
    ...(tls && { tls }),
  };
  const version = protocolVersion !== undefined && { protocolVersion };
  // Braces in it are braces, not the place of a value.
  return {
    sink: 'mqtt',
    options: { ...access, ...version, ...mark, topic: topic.replace(/[{}]/g, '$&$&') },
    perMark: protocolVersion === 5,
  };
}
