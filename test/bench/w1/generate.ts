import { closeSync, openSync, renameSync, writeSync } from 'node:fs';

const firstTime = Date.UTC(2024, 0, 1);
const flushCharacters = 1 << 20;

/**
 * Writes the input of W1: readings of 1,000 generators in the order of their times, one a second each; of every 997 one lacks its fuel.
 * The same count gives the same bytes. The file appears only when it is whole.
 */
export function generate(path: string, events: number, generators = 1000): void {
  const random = xorshift(20240101);
  const within = (low: number, high: number, digits: number) => (low + (high - low) * random()).toFixed(digits);
  const places = Array.from({ length: generators }, () => `"lat":${within(25, 49, 8)},"lon":${within(-124, -67, 8)}`);
  const unfinished = `${path}.part`;
  const file = openSync(unfinished, 'w');
  let text = '';
  for (let i = 0; i < events; i++) {
    const generator = i % generators;
    const time = firstTime + Math.floor(i / generators) * 1000;
    const fuel = `"fuel":${Math.floor(random() * 2000)},`;
    text +=
      `{"generatorID":"emergency-generator-${String(generator).padStart(5, '0')}","ts":${time},${places[generator]},` +
      `"temperature":${within(150, 250, 4)},"pressure":${within(20, 80, 4)},${i % 997 === 996 ? '' : fuel}` +
      `"load":${Math.floor(random() * 100)},"power":${within(0, 500, 3)}}\n`;
    if (text.length < flushCharacters) continue;
    writeSync(file, text);
    text = '';
  }
  writeSync(file, text);
  closeSync(file);
  renameSync(unfinished, path);
}

function xorshift(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
