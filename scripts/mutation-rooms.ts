/** What mutation testing changes, by room, and the tests that have to notice: the room's own, and none of a whole server. */
export const mutationRooms: Readonly<Record<string, { readonly mutate: string; readonly tests: readonly string[] }>> = {
  client: { mutate: 'src/client/**/*.ts', tests: ['test/client/**/*.test.ts'] },
  dpop: { mutate: 'src/dpop/**/*.ts', tests: ['test/dpop/**/*.test.ts'] },
  grant: { mutate: 'src/grant/**/*.ts', tests: ['test/grant/**/*.test.ts'] },
  'http/form': { mutate: 'src/http/form.ts', tests: ['test/http/form.test.ts', 'test/http/read-form.test.ts'] },
  key: { mutate: 'src/key/**/*.ts', tests: ['test/key/**/*.test.ts'] },
  oauth: { mutate: 'src/oauth/**/*.ts', tests: ['test/oauth/**/*.test.ts'] },
  token: { mutate: 'src/token/**/*.ts', tests: ['test/token/**/*.test.ts'] },
}

/** The tests of one room, or of all. */
export function roomTests(room: string | undefined): readonly string[] {
  if (room === undefined) return Object.values(mutationRooms).flatMap(({ tests }) => tests)
  const { tests } = mutationRooms[room] ?? {}
  if (tests === undefined) throw new Error(`no room is called ${room}`)
  return tests
}
