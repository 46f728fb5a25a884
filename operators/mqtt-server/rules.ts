import { topicProblems } from '../../src/operator.ts';

/** One entry of `rules`, as users write it. */
export interface TopicRule {
  user?: string | string[];
  publish?: string | string[];
  subscribe?: string | string[];
}

/** Who asks: the user is one that was proven, or nobody. */
export interface Who {
  readonly user: string | undefined;
  readonly clientId: string;
}

/** What clients may do. Without rules everything but topics that begin with `$`. */
export interface Rules {
  mayPublish(topic: string, who: Who): boolean;
  /** Every topic that the filter can match lies within one pattern of the client's rules. */
  maySubscribe(filter: string, who: Who): boolean;
}

/** Makes rules ready. A client may do what any rule for its user allows. */
export function compileRules(rules: readonly TopicRule[] | undefined): Rules {
  if (rules === undefined) return { mayPublish: notReserved, maySubscribe: notReserved };
  const made = rules.map(({ user, publish = [], subscribe = [] }) => ({
    users: user === undefined ? undefined : new Set([user].flat()),
    publish: [publish].flat().map((pattern) => pattern.split('/')),
    subscribe: [subscribe].flat().map((pattern) => pattern.split('/')),
  }));
  const may = (what: 'publish' | 'subscribe', asked: string, who: Who) => {
    if (!notReserved(asked)) return false;
    const levels = asked.split('/');
    return made.some(
      (rule) =>
        (rule.users === undefined || (who.user !== undefined && rule.users.has(who.user))) &&
        rule[what].some((pattern) => covers(pattern, levels, who)),
    );
  };
  return {
    mayPublish: (topic, who) => may('publish', topic, who),
    maySubscribe: (filter, who) => may('subscribe', filter, who),
  };
}

const notReserved = (topic: string) => !topic.startsWith('$');

function covers(pattern: readonly string[], asked: readonly string[], who: Who): boolean {
  const many = pattern.at(-1) === '#';
  const fixed = many ? pattern.length - 1 : pattern.length;
  if (many ? asked.length < fixed : asked.length !== fixed) return false;
  for (let n = 0; n < fixed; n++) {
    const level = asked[n]!;
    if (level === '#') return false;
    if (pattern[n] === '+') continue;
    const wanted = filled(pattern[n]!, who);
    // A name with a wildcard in it must not become one.
    if (wanted === undefined || /[+#]/.test(wanted) || level !== wanted) return false;
  }
  return true;
}

/** A level with the client's own names in it; `undefined` when it has none to put there. */
function filled(level: string, { user, clientId }: Who): string | undefined {
  if (level === '{username}') return user === '' ? undefined : user;
  if (level === '{clientId}') return clientId === '' ? undefined : clientId;
  return level;
}

/** What is wrong with a pattern of a rule; `undefined` when nothing is. */
export function patternProblem(pattern: string): { message: string; hint: string } | undefined {
  if (pattern.startsWith('$')) {
    return {
      message: `The rule \`${pattern}\` begins with \`$\`, and no client may use such topics.`,
      hint: 'Leave it out.',
    };
  }
  const names = pattern.split('/').filter((level) => level.startsWith('{'));
  const unknown = names.find((name) => name !== '{username}' && name !== '{clientId}');
  if (unknown !== undefined) {
    return {
      message: `The rule \`${pattern}\` holds \`${unknown}\`, which is no name of a client.`,
      hint: 'Write `{username}` or `{clientId}`, each as a whole level, or `+`.',
    };
  }
  const found = topicProblems(pattern.replace(/\{(username|clientId)\}/g, '+')).find(({ warning }) => warning !== true);
  return found;
}
