// State and timers of your own, for each key: how long has each generator's tank been low?
import { from, start, topology } from 'penstock';

interface Reading {
  generatorID: string;
  fuel: number;
}

const plan = topology('low-fuel')
  .stream('readings')
  .from<Reading>(from.simulate({ generators: 3, count: 90, realTime: false, time: { field: 'ts', unit: 'ms' } }))
  .keyBy('generatorID')
  .process(
    {
      state: () => ({ lowSince: 0, lowest: Number.POSITIVE_INFINITY }),
      onRecord(record, step) {
        const { fuel } = record.value;
        if (fuel >= 500) return step.forget();
        const { state } = step;
        if (state.lowSince === 0) {
          state.lowSince = record.time;
          // Five seconds of event time: what the readings say of themselves, not the clock on the wall.
          step.timer(record.time + 5_000);
        }
        state.lowest = Math.min(state.lowest, fuel);
      },
      onTimer(at, generatorID, step) {
        const { lowSince, lowest } = step.state;
        // The tank may have been filled meanwhile, and have become low once more.
        if (lowSince === at - 5_000) step.emit({ generatorID, lowForMs: at - lowSince, lowest });
      },
    },
    { id: 'low' },
  )
  .print('json')
  .plan();
await (await start(plan, { fresh: true })).done;
