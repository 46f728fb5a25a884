import { RE2JS } from 're2js';

/** One entry of `routes`, as users write it. */
export interface RouteOption {
  match: string;
  to: string;
}

/** What is wrong with a text that should hold routes. */
export interface RouteProblem {
  readonly message: string;
  readonly hint: string;
}

const nameForm = /^[A-Za-z0-9._-]{1,249}$/;

/**
 * Reads the one-text form of routes, that of `topic.regex.list`: `name:regex` pairs with commas between them. The name ends at the first
 * colon. A comma always ends a pair, as it does there.
 */
export function parseRouteList(text: string): RouteOption[] | RouteProblem {
  const pairs = text.split(',').map((pair) => pair.trim());
  const routes: RouteOption[] = [];
  for (const pair of pairs) {
    const colon = pair.indexOf(':');
    const to = pair.slice(0, Math.max(colon, 0)).trim();
    const match = pair.slice(colon + 1).trim();
    if (colon === -1 || match === '') {
      return {
        message: `\`${pair}\` is no pair of a name and a regular expression.`,
        hint: 'Write `name:regex, name:regex`. A regular expression with a comma needs the other form: a list of `{ match, to }`.',
      };
    }
    routes.push({ match, to });
  }
  return routeProblem(routes) ?? routes;
}

/** What is wrong with routes; `undefined` when they can be used. */
export function routeProblem(routes: readonly RouteOption[]): RouteProblem | undefined {
  for (const { match, to } of routes) {
    if (!nameForm.test(to) || to === '.' || to === '..') {
      return {
        message: `\`${to}\` cannot be the name of a route.`,
        hint: 'A name has 1 to 249 letters, digits, dots, `_` and `-`, as a Kafka topic has.',
      };
    }
    try {
      RE2JS.compile(match);
    } catch (error) {
      return {
        message: `The regular expression \`${match}\` of the route \`${to}\` cannot be used: ${(error as Error).message}.`,
        hint: 'Look-arounds and back-references are not there: a topic is matched in linear time.',
      };
    }
  }
  return undefined;
}

/** Gives the name of the first route whose expression matches the whole topic; `undefined` when none does. Linear in the topic's length. */
export function compileRoutes(routes: readonly RouteOption[]): (topic: string) => string | undefined {
  const made = routes.map(({ match, to }) => ({ to, regex: RE2JS.compile(match) }));
  return (topic) => made.find(({ regex }) => regex.matches(topic))?.to;
}

/** The key under which the properties of Confluent's MQTT Proxy hold their routes. */
export const propertyOfRoutes = 'topic.regex.list';

/** Reads a Java properties file: comments, continued lines and escapes. Of a key that stands twice the last value counts. */
export function parseProperties(text: string): Map<string, string> {
  const properties = new Map<string, string>();
  const lines = text.split(/\r\n|\n|\r/);
  for (let n = 0; n < lines.length; n++) {
    let line = lines[n]!.replace(/^[ \t\f]+/, '');
    if (line === '' || line.startsWith('#') || line.startsWith('!')) continue;
    while (/(^|[^\\])(\\\\)*\\$/.test(line)) {
      line = line.slice(0, -1);
      if (n + 1 >= lines.length) break;
      line += lines[++n]!.replace(/^[ \t\f]+/, '');
    }
    const [, key = '', value = ''] = /^((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)$/s.exec(line) ?? [];
    properties.set(unescaped(key), unescaped(value));
  }
  return properties;
}

const escapes: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' };

function unescaped(text: string): string {
  return text.replace(/\\(?:u([0-9A-Fa-f]{4})|(.))/gs, (_, code: string | undefined, char: string) =>
    code === undefined ? (escapes[char] ?? char) : String.fromCharCode(Number.parseInt(code, 16)),
  );
}
