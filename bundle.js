import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'rolldown';

// The command line in a few files instead of some 800, which take Node a second to find and read. Libraries that have binaries, or that only
// some topologies need, are loaded from where they are installed.
const apart = ['kafkajs', 'kafkajs-snappy', 'mqtt', 'aedes', 'lmdb', 'msgpackr', 'lz4-napi', 'fast-check', 'postgres'];

await build({
  // The worker is found beside the bundle by its name.
  input: { main: 'dist/src/cli/main.js', 'chunk-merge-worker': 'dist/src/engine/chunk-merge-worker.js' },
  platform: 'node',
  external: (id) => id.startsWith('node:') || [...apart, '@bokuweb', '@kafkajs', '@influxdata'].includes(packageOf(id)),
  output: { dir: 'dist/cli', format: 'esm', chunkFileNames: '[name]-[hash].js', cleanDir: true },
  plugins: [{ name: 'licenses', generateBundle }],
});

/** The name of a package as an import gives it; of a scoped one, its scope. */
function packageOf(id) {
  return id.split('/')[0];
}

/** Puts the licenses of all that is copied into the bundle beside it. */
function generateBundle() {
  const folders = new Set();
  for (const id of this.getModuleIds()) {
    const [, path] = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id) ?? [];
    if (path !== undefined) folders.add(path);
  }
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? license : readFileSync(join(folder, file), 'utf8').trim();
    return `${name} ${version}\n\n${text}\n`;
  });
  this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source: texts.join(`\n${'-'.repeat(80)}\n\n`) });
}
