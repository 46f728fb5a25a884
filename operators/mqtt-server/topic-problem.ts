import { publishProblem } from '../../src/operator.ts';

const levelsMost = 100;

/** A topic that no client may publish to, whatever the rules say: of the broker itself, with a wildcard, too deep, or no UTF-8. */
export function topicProblem(topic: string): boolean {
  return (
    publishProblem(topic) !== undefined ||
    topic.startsWith('$') ||
    topic.includes('\ufffd') ||
    topic.split('/').length > levelsMost
  );
}

/** A filter that no client may subscribe to, whatever the rules say. Where wildcards may stand the broker itself checks. */
export function filterProblem(filter: string): boolean {
  return topicProblem(filter.replaceAll(/[+#]/g, '_'));
}
