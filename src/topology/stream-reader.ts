import { type Definition, type Expression, expression } from '../operator.ts';
import { readBuffer } from './buffer-options.ts';
import { type DraftStep, type DraftStream, type Route, unreadable } from './draft.ts';
import { type OnErrorRead, readOnError } from './error-options.ts';
import type { Surroundings } from './interpolate.ts';
import { camelCase, type Lookup } from './lookup.ts';
import { checkOptions } from './options.ts';
import { checkName, routeOf, textOf } from './pieces.ts';
import type { Report, Site } from './report.ts';
import { didYouMean, listed, nearest } from './suggest.ts';
import { alternatives, found, type OptionSchema, ValueReader } from './values.ts';
import type { Entry, Written, WrittenMap, WrittenScalar } from './written.ts';

type Routes = Pick<DraftStep, 'otherwise' | 'onError' | 'buffer' | 'late'>;

const siblings = ['id', 'description', 'when', 'otherwise', 'onError', 'buffer'];
const whenShape = [expression({ description: '' }) as OptionSchema];

/** Reads the lists of steps under `streams`. */
export class StreamReader {
  readonly #lookup: Lookup;
  readonly #from: Surroundings;
  readonly #sides: ReadonlySet<string>;
  readonly #report: Report;

  constructor(lookup: Lookup, from: Surroundings, sides: ReadonlySet<string>, report: Report) {
    this.#lookup = lookup;
    this.#from = from;
    this.#sides = sides;
    this.#report = report;
  }

  /** Reads one stream. `rest`: there is one of that name already, so that what seems to be missing may stand there. */
  read(name: string, site: Site, node: Written, rest = false): DraftStream {
    const from: Route[] = [];
    const steps: DraftStep[] = rest ? [this.#unread(name, { kind: 'scalar', value: name, ...site })] : [];
    if (node.kind !== 'list') {
      this.#report.add('wrong-type', node, `The stream \`${name}\` must be a list of steps, but is ${found(node)}.`, {
        hint: 'Write each step in a line of its own: `- keyBy: generatorID`.',
      });
      return { name, site, from, steps: [...steps, this.#unread('', node)] };
    }
    node.items.forEach((item, index) => {
      if (item.kind === 'map' && item.entries.has('from')) {
        if (!this.#from_(item, index, from)) steps.push(this.#unread('from', item));
      } else steps.push(this.#step(name, item, index === 0 && !rest) ?? this.#unread('', item));
    });
    return { name, site, from, steps };
  }

  /** What stands for an item that could not be read. What may stand beside any operator is read all the same. */
  #unread(name: string, item: Written): DraftStep {
    this.#report.passOver(item);
    const beside = item.kind === 'map' ? item.entries : new Map<string, Entry>();
    const routes = [...beside.values()].flatMap(({ value }) =>
      value.kind === 'map' ? [this.#hoist(unreadable, value, name).routes] : [],
    );
    return {
      definition: unreadable,
      name,
      site: item,
      options: undefined,
      sound: false,
      written: item,
      specials: [],
      ...Object.assign({}, ...routes),
      ...this.#beside(name, unreadable, beside),
    };
  }

  /** Reads where a stream begins. Gives `false` when that is not clear. */
  #from_(item: WrittenMap, index: number, into: Route[]): boolean {
    const { key, value } = item.entries.get('from')!;
    const before = this.#report.size;
    for (const [other, entry] of item.entries) {
      if (other === 'from' || other === 'description') continue;
      this.#report.add('two-operators', entry.key, `\`from\` and \`${other}\` stand in one item.`, {
        hint: `Begin a new item: \`- ${other}: …\`.`,
      });
    }
    if (index > 0) {
      this.#report.add('misplaced-step', key, '`from` stands in the middle of a stream, but a stream begins with it.', {
        hint: 'Make it the first item, or begin a new stream with it.',
      });
    }
    const nodes = value.kind === 'list' ? value.items : [value];
    if (nodes.length === 0)
      this.#report.add('bad-value', value, '`from` names no stream.', { hint: 'Write `from: readings`.' });
    for (const node of nodes) {
      const to = textOf(node, 'from', this.#report);
      if (to !== '') into.push({ to, site: node });
    }
    return this.#report.size === before;
  }

  #step(stream: string, item: Written, first: boolean): DraftStep | undefined {
    if (item.kind === 'scalar' && typeof item.value === 'string' && this.#lookup.knows(item.value)) {
      return this.#operator(
        stream,
        item.value,
        { key: item, value: { ...item, value: null, text: '', quoted: false } },
        new Map(),
        first,
      );
    }
    if (item.kind !== 'map') {
      this.#report.add(
        'wrong-type',
        item,
        `A step must be a mapping such as \`keyBy: generatorID\`, but is ${found(item)}.`,
      );
      return undefined;
    }
    const operators = [...item.entries].filter(([key]) => !siblings.includes(key));
    const known = operators.filter(([key]) => this.#lookup.knows(key));
    if (operators.length === 0) {
      this.#report.add('missing-key', item, 'This item holds no operator.', {
        hint: `Write one, such as \`keyBy: generatorID\`; there are ${listed(this.#lookup.names)}.`,
      });
      return undefined;
    }
    if (known.length > 1) {
      this.#report.add(
        'two-operators',
        known[1]![1].key,
        `${listed(known.map(([key]) => key))} stand in one item; each step is an item of its own.`,
        {
          hint: `Begin a new item: \`- ${known[1]![0]}: …\`. (Is it meant as an option of \`${known[0]![0]}\`? Then indent it further.)`,
        },
      );
      return undefined;
    }
    const [name, entry] = known[0] ?? operators[0]!;
    for (const [key, other] of operators) {
      if (key !== name) this.#strayKey(key, other, name);
    }
    if (known.length === 0) {
      const names = [...this.#lookup.names, 'from'];
      const near = didYouMean(camelCase(name), names);
      this.#report.add('unknown-operator', entry.key, `There is no operator \`${name}\`.${near}`, {
        hint: near === '' ? `There are ${listed(this.#lookup.names)}.` : undefined,
      });
      return undefined;
    }
    return this.#operator(stream, name, entry, item.entries, first);
  }

  #strayKey(key: string, { key: site, value }: Entry, operator: string): void {
    if (!this.#lookup.knows(operator)) return;
    this.#report.passOver(value);
    const definition = this.#definition(operator, true) as Definition;
    const isOption = key === 'late' || Object.hasOwn((definition.options as OptionSchema).properties ?? {}, key);
    const hint = isOption
      ? `\`${key}\` is an option of \`${operator}\`: indent it below.`
      : `Beside the operator there may be ${listed(siblings)}.`;
    this.#report.add(
      'unknown-key',
      site,
      `\`${key}\` stands beside \`${operator}\`, where it means nothing.${isOption ? '' : didYouMean(key, siblings)}`,
      { hint },
    );
  }

  #definition(name: string, source: boolean): Definition | undefined {
    const find = this.#lookup;
    const inside = () => find.find(name, 'step') ?? find.find(name, 'sink');
    return source ? (find.find(name, 'source') ?? inside()) : (inside() ?? find.find(name, 'source'));
  }

  #operator(stream: string, name: string, entry: Entry, beside: ReadonlyMap<string, Entry>, first: boolean): DraftStep {
    const definition = this.#definition(name, first && !this.#sides.has(stream))!;
    const before = this.#report.size;
    const hoisted = this.#hoist(definition, entry.value, name);
    const reader = new ValueReader(this.#from, this.#report);
    const { written, options } = this.#options(definition, hoisted.written, reader);
    if (typeof options !== 'function')
      checkOptions({ definition, name, written, report: this.#report, unread: reader.unread }, options);
    return {
      definition,
      name,
      site: entry.key,
      options,
      sound: this.#report.size === before && reader.unread.size === 0,
      written,
      specials: reader.specials,
      ...hoisted.routes,
      ...this.#beside(name, definition, beside),
    };
  }

  /** What stands beside an operator. */
  #beside(name: string, definition: Definition, entries: ReadonlyMap<string, Entry>): Partial<DraftStep> {
    const id = entries.get('id')?.value;
    const idText = id && textOf(id, 'id', this.#report);
    if (id && idText) checkName(idText, 'id of a step', id, this.#report);
    const description = entries.get('description')?.value;
    const when = this.#when(name, definition, entries.get('when'));
    return {
      ...(id && idText && { id: { name: idText, site: id } }),
      ...([...entries.keys()].some((key) => nearest(key, siblings) === 'id') && { idMeant: true }),
      ...(description && { description: textOf(description, 'description', this.#report) }),
      ...(when && { when }),
      ...this.#onError(name, definition, entries),
      ...this.#buffer(name, definition, entries.get('buffer')),
    };
  }

  #buffer(name: string, definition: Definition, entry: Entry | undefined): Pick<DraftStep, 'buffer'> {
    const buffer =
      entry &&
      readBuffer(
        entry,
        { name, sink: definition === unreadable || definition.kind === 'sink' },
        this.#from,
        this.#report,
      );
    return buffer ? { buffer } : {};
  }

  #onError(name: string, definition: Definition, entries: ReadonlyMap<string, Entry>): OnErrorRead {
    const retries = definition === unreadable ? undefined : definition.kind === 'sink';
    return readOnError(entries, { name: `\`${name}\``, retries }, this.#from, this.#report);
  }

  #when(name: string, { kind }: Definition, entry: Entry | undefined): DraftStep['when'] {
    if (!entry) return undefined;
    if (kind !== 'step') {
      this.#report.add(
        'misplaced-step',
        entry.key,
        `\`when\` stands beside the ${kind} \`${name}\`, but only steps between source and sink have it.`,
        {
          hint:
            kind === 'sink'
              ? 'Put a `filter` and the sink into a stream of their own, which begins with `from:`.'
              : 'Put a `filter` behind the source.',
        },
      );
      return undefined;
    }
    const reader = new ValueReader(this.#from, this.#report);
    const source = reader.read(entry.value, whenShape);
    const special = reader.specials[0];
    if (entry.value.kind === 'scalar' && special && (typeof source === 'string' || typeof source === 'function')) {
      const { written, filled, unread } = special;
      return { source: source as Expression, written, filled, unread };
    }
    if (entry.value.kind === 'scalar' && typeof entry.value.value === 'boolean')
      return { source: String(entry.value.value), written: entry.value, filled: true, unread: false };
    this.#report.add('wrong-type', entry.value, `\`when\` must be an expression, but is ${found(entry.value)}.`, {
      hint: 'For example: `when: fuel < 500`.',
    });
    return undefined;
  }

  /** Takes `otherwise`, `onError`, `buffer` and `late` out of the options, where they may stand as well. */
  #hoist(definition: Definition, written: Written, name: string): { written: Written; routes: Routes } {
    if (written.kind !== 'map' || isFreeForm(definition)) return { written, routes: {} };
    const late = written.entries.get('late');
    const own = ['otherwise', 'onError', 'buffer'].filter(
      (key) => written.entries.has(key) && !declares(definition, key),
    );
    if (own.length === 0 && !late) return { written, routes: {} };
    const entries = new Map(written.entries);
    const errors = new Map(own.map((key) => [key, entries.get(key)!]));
    for (const key of own) entries.delete(key);
    const found: { -readonly [K in keyof Routes]: Routes[K] } = {
      ...this.#onError(name, definition, errors),
      ...this.#buffer(name, definition, errors.get('buffer')),
    };
    if (late && !declares(definition, 'late')) {
      entries.delete('late');
      if (definition.kind !== 'step' || !definition.late) {
        this.#report.add(
          'unknown-key',
          late.key,
          `\`${name}\` has no option \`late\`: no record is ever late for it.`,
          { hint: 'Drop it, or move it to a window.' },
        );
      } else {
        const route = routeOf(late.value, this.#report, 'late');
        if (route) found.late = route;
      }
    }
    return { written: { ...written, entries }, routes: found };
  }

  #options(definition: Definition, written: Written, reader: ValueReader): { written: Written; options: unknown } {
    const shapes = alternatives(definition.options as OptionSchema);
    const { shorthand } = definition;
    const full =
      shorthand !== undefined && written.kind !== 'map' && !isEmpty(written) ? asOption(shorthand, written) : written;
    if (isEmpty(full) && shapes.some(({ type, properties }) => type === 'object' || properties))
      return { written: full, options: {} };
    return { written: full, options: reader.read(full, shapes) };
  }
}

function asOption(shorthand: string, written: Written): WrittenMap {
  const site: Site = {
    ...(written.at && { at: written.at }),
    ...(written.where !== undefined && { where: written.where }),
  };
  return { kind: 'map', entries: new Map([[shorthand, { key: site, value: written }]]), ...site };
}

function isEmpty(node: Written): node is WrittenScalar {
  return node.kind === 'scalar' && node.value === null;
}

function declares(definition: Definition, option: string): boolean {
  return Object.hasOwn((definition.options as OptionSchema).properties ?? {}, option);
}

/** Every name is a field there, so `otherwise` would be one too. */
export function isFreeForm(definition: Definition): boolean {
  const shape = definition.options as OptionSchema;
  return (
    shape.properties === undefined &&
    (shape.patternProperties !== undefined || shape.additionalProperties !== undefined)
  );
}
