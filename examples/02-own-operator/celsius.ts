// A step of your own: it differs from a built-in one in nothing but where its import comes from.
import { createBuilder, defineStep, start, Type } from 'penstock';
import { sinks, sources, steps } from 'penstock/operators';

const celsius = defineStep({
  name: 'celsius',
  summary: 'Turns a field from degrees Fahrenheit into degrees Celsius.',
  options: Type.Object({ field: Type.String() }, { additionalProperties: false }),
  shorthand: 'field',
  examples: [
    {
      title: 'Water boils',
      options: 'temperature',
      input: [{ value: { temperature: 212 } }],
      output: [{ value: { temperature: 100 } }],
    },
  ],
  create: ({ field }) => ({
    onRecord(record, step) {
      const value = record.value as Record<string, unknown>;
      const fahrenheit = value[field];
      if (typeof fahrenheit !== 'number') {
        step.reject(record, 'step-failed', `\`${field}\` is a ${typeof fahrenheit}; expected a number of degrees.`);
        return;
      }
      step.emit(record.withValue({ ...value, [field]: ((fahrenheit - 32) * 5) / 9 }));
    },
  }),
});

const from = createBuilder({ sources, sinks, steps: { ...steps, celsius } });
const plan = from
  .topology('celsius')
  .stream('readings')
  .from(from.simulate({ count: 3, realTime: false }))
  .celsius('temperature')
  .select(['generatorID', 'temperature'])
  .print('json')
  .plan();
await (await start(plan, { fresh: true, operators: [celsius] })).done;
