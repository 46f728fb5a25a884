// W1 as one would write it by hand, without any engine: what the engine is measured against.
// Usage: node bare.mjs INPUT OUTPUT
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { Ajv } from 'ajv';

const [, , input, output] = process.argv;
const schema = JSON.parse(readFileSync(new URL('./generator.schema.json', import.meta.url), 'utf8'));
const isValid = new Ajv({ strict: false }).compile(schema);
const minute = 60_000;
const readSize = 1 << 20;

const from = openSync(input, 'r');
const to = openSync(output, 'w');
let windowStart = -1;
let latest = new Map();

function closeWindow() {
  let text = '';
  for (const reading of latest.values()) {
    reading.alarm = reading.fuel < 500 ? 'refuel' : 'no action';
    reading.region = 'US';
    text += `${JSON.stringify(reading)}\n`;
  }
  if (text) writeSync(to, text);
  latest = new Map();
}

function take(line) {
  const reading = JSON.parse(line);
  if (!isValid(reading)) return;
  const start = reading.ts - (reading.ts % minute);
  if (start > windowStart) {
    closeWindow();
    windowStart = start;
  }
  // The input is in order: nothing is late.
  latest.set(reading.generatorID, reading);
}

const buffer = Buffer.allocUnsafe(2 * readSize);
let kept = 0;
for (
  let read = readSync(from, buffer, kept, readSize, null);
  read > 0;
  read = readSync(from, buffer, kept, readSize, null)
) {
  const filled = buffer.subarray(0, kept + read);
  let at = 0;
  for (let end = filled.indexOf(10, at); end !== -1; end = filled.indexOf(10, at)) {
    take(filled.toString('utf8', at, end));
    at = end + 1;
  }
  kept = filled.copy(buffer, 0, at);
}
if (kept > 0) take(buffer.toString('utf8', 0, kept));
closeWindow();
closeSync(to);
