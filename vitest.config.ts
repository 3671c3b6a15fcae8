import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**', '**/target/**'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Drills on real runtimes share a machine that is noisy in CI; a second failure counts. Locally every failure does.
    retry: process.env['CI'] === 'true' ? 1 : 0,
  },
})
