/** A process with nothing but an MQTT source and its journal in it, to be killed. Options and folder come as JSON. */
import { mqttSource } from '../../operators/mqtt/index.ts';
import { openForTest } from '../conformance/harness.ts';

const { options, directory } = JSON.parse(process.argv[2]!);
const run = await openForTest(mqttSource, options, { directory });
process.stdout.write('ready\n');
setInterval(() => {
  if (run.failures.length > 0) throw run.failures[0];
  if (run.log.lines.some((line) => line.includes('lost the session'))) throw new Error('The session is lost.');
}, 50);
