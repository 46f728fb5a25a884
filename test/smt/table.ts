import type { ExampleRecord } from '../../src/operator.ts';

/** A single message transform of Kafka Connect, or a predicate, and what does the same here. */
export interface Row {
  readonly smt: string;
  readonly does: string;
  /** One step, as it stands in YAML. */
  readonly step: string;
  readonly input: ExampleRecord;
  /** `null`: nothing goes on. */
  readonly output: ExampleRecord | null;
  readonly note?: string;
}

const time = Date.UTC(2026, 0, 2, 3, 4, 5);

/** In the order of the Connect documentation; each is run. */
export const rows: readonly Row[] = [
  {
    smt: 'Cast',
    does: 'another type for a field',
    step: "map: { fuel: 'double(fuel)', id: 'string(id)', full: 'bool(full)' }",
    input: { value: { fuel: '480.5', id: 7, full: 'true' } },
    output: { value: { fuel: 480.5, id: '7', full: true } },
    note: 'A text that is no number rejects the record.',
  },
  {
    smt: 'Cast$Value, of the whole value',
    does: 'another type for the value itself',
    step: "value: 'int(event)'",
    input: { value: '480' },
    output: { value: 480 },
  },
  {
    smt: 'DropHeaders',
    does: 'headers go',
    step: 'meta: { dropHeaders: [debug] }',
    input: { value: {}, meta: { headers: { debug: '1', trace: 'x' } } },
    output: { value: {}, meta: { headers: { trace: 'x' } } },
    note: 'The `kafka` sink writes no header that it is not told to: `headers`, or all of them with `forwardHeaders`.',
  },
  {
    smt: 'ExtractField',
    does: 'one field as the value',
    step: 'value: payload',
    input: { value: { schema: 7, payload: { fuel: 480 } } },
    output: { value: { fuel: 480 } },
  },
  {
    smt: 'Filter',
    does: 'records go, or stay, by a predicate',
    step: "filter: '!has(meta.headers.debug)'",
    input: { value: {}, meta: { headers: { debug: '1' } } },
    output: null,
  },
  {
    smt: 'Flatten',
    does: 'nested fields at the top',
    step: `value: 'flatten(event, "_")'`,
    input: { value: { id: 'g1', pos: { lat: 40.6, at: { zone: 7 } }, list: [1] } },
    output: { value: { id: 'g1', pos_lat: 40.6, pos_at_zone: 7, list: [1] } },
    note: 'Without a second argument the names are put together with a dot, as in Connect.',
  },
  {
    smt: 'HeaderFrom (copy)',
    does: 'a header from a field',
    step: "meta: { headers: { region: '{region}' } }",
    input: { value: { region: 'US' }, meta: { headers: { trace: 'x' } } },
    output: { value: { region: 'US' }, meta: { headers: { trace: 'x', region: 'US' } } },
    note: 'To move it, drop the field in the next step: `select: { drop: [region] }`.',
  },
  {
    smt: 'HoistField',
    does: 'the value as a field of a new one',
    step: `value: '{"line": event}'`,
    input: { value: 'text' },
    output: { value: { line: 'text' } },
  },
  {
    smt: 'InsertField, static',
    does: 'a field with a fixed value',
    step: 'set: { region: US }',
    input: { value: { fuel: 480 } },
    output: { value: { fuel: 480, region: 'US' } },
  },
  {
    smt: 'InsertField, from the record',
    does: 'topic, time and key as fields',
    step: 'map: { topic: meta.topic, at: time, id: key }',
    input: { value: { fuel: 480 }, key: 'g1', time, meta: { topic: 'gen' } },
    output: { value: { fuel: 480, topic: 'gen', at: time, id: 'g1' } },
    note: 'Partition and offset are part of the header `penstock-id`, which the `kafka` sink writes for each record.',
  },
  {
    smt: 'InsertHeader',
    does: 'a header with a fixed value',
    step: 'meta: { headers: { source: plant-7 } }',
    input: { value: {} },
    output: { value: {}, meta: { headers: { source: 'plant-7' } } },
  },
  {
    smt: 'MaskField',
    does: 'fields made unreadable',
    step: `map: { card: 'card.mask(4)', email: 'sha256(email)', pin: '0' }`,
    input: { value: { card: '4111111111111111', email: 'a@b', pin: 1234 } },
    output: {
      value: {
        card: '************1111',
        email: '7508d8b5018ea640b85269861a101203f0c26900555268e930025dac844b0f35',
        pin: 0,
      },
    },
    note: 'A fixed text is `set: { card: "****" }`.',
  },
  {
    smt: 'RegexRouter',
    does: 'another topic, by a pattern',
    step: `meta: { topic: '{meta.topic.regexReplace("^(.*)-raw$", "clean.$1")}' }`,
    input: { value: {}, meta: { topic: 'gen-raw' } },
    output: { value: {}, meta: { topic: 'clean.gen' } },
    note: "The sink then has `topic: '{meta.topic}'`; the same template can stand there at once. Patterns are of RE2: linear time.",
  },
  {
    smt: 'ReplaceField, include and exclude',
    does: 'fields stay, or go',
    step: 'select: { drop: [debug] }',
    input: { value: { fuel: 480, debug: [1] } },
    output: { value: { fuel: 480 } },
    note: '`select: [fuel, load]` keeps.',
  },
  {
    smt: 'ReplaceField, renames',
    does: 'other names',
    step: `value: '{"id": generatorID, "litres": fuel}'`,
    input: { value: { generatorID: 'g1', fuel: 480, load: 3 } },
    output: { value: { id: 'g1', litres: 480 } },
    note: 'To keep all others: `map: { id: generatorID }`, then `select: { drop: [generatorID] }`.',
  },
  {
    smt: 'TimestampConverter, to a text',
    does: 'a time as text, in a zone',
    step: `map: { at: 'formatTime(at, "yyyy-MM-dd HH:mm:ss", "Europe/Berlin")' }`,
    input: { value: { at: time } },
    output: { value: { at: '2026-01-02 04:04:05' } },
    note: 'The patterns are those of Java: yyyy, MM, dd, HH, mm, ss, SSS, texts in single quotes; and ZZ for the offset.',
  },
  {
    smt: 'TimestampConverter, from a text',
    does: 'a time in ms',
    step: `map: { at: 'parseTime(at, "dd.MM.yyyy HH:mm:ss", "Europe/Berlin")' }`,
    input: { value: { at: '02.01.2026 04:04:05' } },
    output: { value: { at: time } },
  },
  {
    smt: 'TimestampRouter',
    does: 'the time in the name of the topic',
    step: `meta: { topic: '{meta.topic}-{formatTime(time, "yyyyMMdd")}' }`,
    input: { value: {}, time, meta: { topic: 'gen' } },
    output: { value: {}, time, meta: { topic: 'gen-20260102' } },
  },
  {
    smt: 'ValueToKey',
    does: 'the key from a field',
    step: 'keyBy: generatorID',
    input: { value: { generatorID: 'g1', fuel: 480 } },
    output: { value: { generatorID: 'g1', fuel: 480 }, key: 'g1' },
    note: 'From several fields: `map: { k: \'a + "/" + b\' }`, then `keyBy: k`.',
  },
  {
    smt: 'predicate HasHeaderKey',
    does: 'true for a record with a header',
    step: `filter: '"trace" in coalesce(meta.headers, {})'`,
    input: { value: {}, meta: { headers: { trace: 'x' } } },
    output: { value: {}, meta: { headers: { trace: 'x' } } },
    note: 'A predicate of a transform is `when` beside its step.',
  },
  {
    smt: 'predicate RecordIsTombstone',
    does: 'true for the value null',
    step: "filter: 'event == null'",
    input: { value: null, key: 'g1' },
    output: { value: null, key: 'g1' },
  },
  {
    smt: 'predicate TopicNameMatches',
    does: 'true for some topics',
    step: `filter: 'meta.topic.matches("^gen-.*")'`,
    input: { value: {}, meta: { topic: 'cars' } },
    output: null,
  },
];

/** What has no counterpart, and why. */
export const without: readonly { readonly smt: string; readonly why: string }[] = [
  {
    smt: 'SetSchemaMetadata',
    why: 'Records carry no schema with a name and a version: their type is known when the topology is read (`validate`), and a payload that is encoded by a schema takes it from the registry, which names and numbers it.',
  },
];
