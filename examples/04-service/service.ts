/** Two topologies in one service, with an endpoint that tells whether they do their work. Ends by itself, or in order with SIGTERM. */
import { createServer } from 'node:http';
import { from, type Run, start, topology } from 'penstock';
import { filter, map, take } from 'rxjs';

interface Reading {
  generatorID: string;
  fuel: number;
  temperature: number;
}

// The endless fleet of simulated generators stands for MQTT or Kafka.
const fleet = () => from.simulate({ every: '100ms', time: { field: 'ts', unit: 'ms' } });

const alarms = topology('alarms')
  .stream('low')
  .from<Reading>(fleet())
  .filter(({ fuel }) => fuel < 500)
  .keyBy('generatorID')
  .windowLast({ every: '2s' }, { id: 'latest' })
  .plan();

const heat = topology('heat')
  .stream('hot')
  .from<Reading>(fleet())
  .keyBy('generatorID')
  // Any RxJS operator that answers at once can stand in a topology.
  .pipe(
    map(({ generatorID, temperature }) => ({ generatorID, celsius: ((temperature - 32) * 5) / 9 })),
    filter(({ celsius }) => celsius > 20),
  )
  .plan();

const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());
const runs: Run[] = await Promise.all(
  [alarms, heat].map((plan) => start(plan, { fresh: true, signal: stopping.signal })),
);

const server = createServer((_request, response) => {
  const health = runs.map((run) => run.health());
  response.writeHead(health.every(({ healthy }) => healthy) ? 200 : 503, { 'content-type': 'application/json' });
  response.end(JSON.stringify(health));
}).listen(0, '127.0.0.1');

runs[1]!
  .output('hot')
  .pipe(take(1))
  .subscribe(([first]) => console.log('hot', first?.value));
await new Promise<void>((resolve) =>
  runs[0]!
    .output('low')
    .pipe(take(1))
    .subscribe(() => resolve()),
);

const address = server.address() as { port: number };
const answer = await fetch(`http://127.0.0.1:${address.port}`);
console.log(
  'health',
  answer.status,
  ((await answer.json()) as { state: string }[]).map(({ state }) => state),
);

// `stop` keeps open windows for the next start; `drain` closes them with what they hold.
runs[0]!.output('low').subscribe((records) => console.log('drained', records.length, records[0]?.window?.pane));
await Promise.all([runs[0]!.drain(), runs[1]!.stop()]);
server.close();
