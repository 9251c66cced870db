import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/faults/**', 'test/containers/**'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Many files wait for processes of their own: with one file at a time, which is vitest's choice for two cores, a core waits too.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
})
