import { defineConfig } from 'vitest/config';

const here = (path: string) => new URL(path, import.meta.url).pathname;

export default defineConfig({
  resolve: {
    alias: [
      { find: /^penstock$/, replacement: here('./src/index.ts') },
      { find: /^penstock\/operators$/, replacement: here('./operators/index.ts') },
      { find: /^penstock\/testing$/, replacement: here('./src/testing.ts') },
      { find: /^penstock\/testing\/laws$/, replacement: here('./src/testing/laws.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts', 'examples/**/*.test.ts'],
    setupFiles: ['test/setup.ts'],
    testTimeout: 30_000,
    maxWorkers: 2,
  },
});
