/** A message of the text protobuf format: field names to all their values, in order. */
export type Message = Map<string, (Message | string | number | boolean)[]>;

/** Reads text protobuf, as far as the CEL conformance suite uses it. Strings keep their bytes as characters 0 to 255. */
export function readTextproto(text: string): Message {
  const tokens = text.matchAll(/#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\[[\w./]+\]|[\w.+-]+|[{}<>[\]:,;]/g);
  const list = [...tokens].map(([token]) => token).filter((token) => !token.startsWith('#'));
  let at = 0;
  const message = (): Message => {
    const fields: Message = new Map();
    while (at < list.length && list[at] !== '}' && list[at] !== '>') {
      const name = list[at++]!.replace(/^\[|\]$/g, '');
      if (list[at] === ':') at++;
      if (!fields.has(name)) fields.set(name, []);
      if (list[at] === '[') {
        at++;
        while (list[at] !== ']') {
          fields.get(name)!.push(value());
          if (list[at] === ',') at++;
        }
        at++;
      } else fields.get(name)!.push(value());
      if (list[at] === ',' || list[at] === ';') at++;
    }
    return fields;
  };
  const value = (): Message | string | number | boolean => {
    const token = list[at++]!;
    if (token === '{' || token === '<') {
      const inner = message();
      at++;
      return inner;
    }
    if (/^["']/.test(token)) {
      let joined = unescaped(token.slice(1, -1));
      while (/^["']/.test(list[at] ?? '')) joined += unescaped(list[at++]!.slice(1, -1));
      return joined;
    }
    if (token === 'true' || token === 'false') return token === 'true';
    // Numbers stay text: the suite has 64-bit ones.
    return token;
  };
  return message();
}

/** Bytes held as characters, read as UTF-8. */
export const asText = (bytes: string) => Buffer.from(bytes, 'latin1').toString('utf8');

const named: Record<string, string> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' };

function unescaped(raw: string): string {
  const bytes = Buffer.from(raw, 'utf8').toString('latin1');
  return bytes.replace(/\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)/gs, (_all, code: string) => {
    if (/^x/.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8));
    if (/^[uU]./.test(code))
      return Buffer.from(String.fromCodePoint(Number.parseInt(code.slice(1), 16)), 'utf8').toString('latin1');
    return named[code] ?? code;
  });
}
