/** One topic as users write it, made ready: `emergency_generators/{generatorID}`. */
export interface TopicPattern {
  /** What the broker is asked for: captures become `+`. */
  readonly filter: string;
  /** Gives the captured levels of a topic, or `undefined` when the topic does not match. */
  match(topic: string): Readonly<Record<string, string>> | undefined;
}

export interface TopicProblem {
  readonly message: string;
  readonly hint: string;
  /** It works, but good topics are not like that. */
  readonly warning?: boolean;
}

const captureForm = /^\{([A-Za-z_][A-Za-z0-9_]*)\}$/;

/** The levels of a pattern, without the `$share/group/` before them, which topics do not carry. */
function levelsOf(pattern: string): string[] {
  const levels = pattern.split('/');
  return levels[0] === '$share' ? levels.slice(2) : levels;
}

/** Makes a pattern ready to match topics: `+`, `#` and `{captures}`. A pattern that breaks the rules of MQTT matches nothing. */
export function compileTopic(pattern: string): TopicPattern {
  const levels = levelsOf(pattern);
  const captures = levels.map((level) => captureForm.exec(level)?.[1]);
  const wild = levels.map((level, n) => captures[n] !== undefined || level === '+');
  const many = levels.at(-1) === '#';
  const fixed = many ? levels.length - 1 : levels.length;
  return {
    filter: pattern.replace(/\{[^/{}]*\}/g, '+'),
    match(topic) {
      const found = topic.split('/');
      if (many ? found.length < fixed : found.length !== fixed) return undefined;
      // Topics of the broker itself, such as `$SYS/uptime`, are for those who name them.
      if (topic.startsWith('$') && levels[0] !== found[0]) return undefined;
      const captured: Record<string, string> = {};
      for (let n = 0; n < fixed; n++) {
        if (!wild[n] && levels[n] !== found[n]) return undefined;
        const name = captures[n];
        if (name !== undefined) captured[name] = found[n]!;
      }
      return captured;
    },
  };
}

/** What is wrong with a topic that is to be subscribed to: first what the broker would refuse, then what is unwise. */
export function topicProblems(pattern: string): TopicProblem[] {
  const said = `The topic \`${printable(pattern)}\``;
  if (pattern === '' || /[\u0000-\u001f\u007f-\u009f]/.test(pattern) || Buffer.byteLength(pattern) > 0xffff) {
    return [
      {
        message: `${said} is empty, too long or holds control characters.`,
        hint: 'Write a topic such as `emergency_generators/+`.',
      },
    ];
  }
  const levels = levelsOf(pattern);
  if (pattern.startsWith('$share/') && (levels.join('/') === '' || /^$|[+#]/.test(pattern.split('/')[1]!))) {
    return [
      { message: `${said} shares a subscription, but lacks a group or a topic.`, hint: 'Write `$share/group/topic`.' },
    ];
  }
  const problems: TopicProblem[] = [];
  const names = new Set<string>();
  for (const [n, level] of levels.entries()) {
    const name = captureForm.exec(level)?.[1];
    if (level === '+' || (level === '#' && n === levels.length - 1)) continue;
    if (level === '#')
      problems.push({
        message: `${said} has \`#\` before its end.`,
        hint: '`#` stands for all further levels: put it last.',
      });
    else if (/[+#]/.test(level)) {
      problems.push({
        message: `${said} has a wildcard inside the level \`${level}\`.`,
        hint: 'A wildcard takes a whole level: `a/+/b`.',
      });
    } else if (name === undefined && /[{}]/.test(level)) {
      problems.push({
        message: `${said} has a capture that is no whole level: \`${level}\`.`,
        hint: 'Write `generators/{generatorID}`, with a name of letters, digits and `_`.',
      });
    } else if (name !== undefined && (names.has(name) || name === '__proto__')) {
      problems.push({
        message: `${said} captures \`${name}\`, which is taken.`,
        hint: 'Give each captured level a name of its own.',
      });
    }
    if (name !== undefined) names.add(name);
  }
  return [...problems, ...topicHygiene(pattern)];
}

/** What works, but good topics are not like that. */
export function topicHygiene(pattern: string): TopicProblem[] {
  const said = `The topic \`${printable(pattern)}\``;
  const levels = levelsOf(pattern);
  const topic = levels.join('/');
  const problems: TopicProblem[] = [];
  if (topic === '#') {
    problems.push({
      message: `${said} takes in everything that the broker carries.`,
      hint: 'Name what you need: `emergency_generators/#`.',
      warning: true,
    });
  }
  if (levels.length > 1 && levels[0] === '') {
    problems.push({
      message: `${said} begins with a slash, which makes an empty first level.`,
      hint: 'Leave out the slash, here and at the sender.',
      warning: true,
    });
  }
  if (/\s/.test(topic)) {
    problems.push({
      message: `${said} holds a space.`,
      hint: 'Write `_` or `-` instead, here and at the sender.',
      warning: true,
    });
  }
  return problems;
}

/** Why a topic cannot be published to; `undefined` when it can. */
export function publishProblem(topic: string): string | undefined {
  if (topic === '') return 'is empty';
  if (/[+#]/.test(topic)) return 'holds a wildcard (`+` or `#`)';
  if (/[\p{Cc}\p{Cs}]/u.test(topic)) return 'holds a control character or half a character';
  return Buffer.byteLength(topic) > 0xffff ? 'is longer than 65,535 bytes' : undefined;
}

const printable = (text: string) => JSON.stringify(text.slice(0, 200)).slice(1, -1);
