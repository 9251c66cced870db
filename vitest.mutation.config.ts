// The tests that judge the mutants of one room: its own. `scripts/mutation.ts` names it.
import { env } from 'node:process'
import { defineConfig } from 'vitest/config'
import { roomTests } from './scripts/mutation-rooms.ts'

export default defineConfig({
  test: {
    include: [...roomTests(env.MUTATION_ROOM)],
    // Many a mutant is noticed by a promise that never settles, and each of those takes as long as this.
    testTimeout: 10_000,
    hookTimeout: 60_000,
  },
})
