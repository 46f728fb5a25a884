import { from, start, topology } from 'penstock';

const plan = topology('alarms')
  .stream('readings')
  .from(from.simulate({ count: 90, realTime: false, time: { field: 'ts', unit: 'ms' } }))
  .keyBy('generatorID')
  .windowLast({ every: '10s', by: 'fuel' }, { id: 'latest' })
  .map({ alarm: 'fuel < 500 ? "refuel" : "no action"' })
  .plan();
const run = await start(plan, { fresh: true });
run.output('readings').subscribe((records) => console.log(records.map(({ value }) => value)));
await run.done;
