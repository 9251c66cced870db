/** A log that nobody reads: the server goes on, and says what is missing. */
import { describe, expect, it } from 'vitest'
import { countLost, type Reading, type StalledServer, serveFull, serveUnread } from '../support/stalled.ts'
import { addBilling, askOnce } from '../support/workers.ts'

const form = { grant_type: 'client_credentials' }
/** A busy machine takes long to log a mebibyte. */
const timeout = 240_000
/** More than a drain takes and the second that each process waits for a reader; without that bound it would be for ever. */
const endsWithin = 15_000

async function expectItServes({ url }: StalledServer, authorization: string): Promise<void> {
  const issued = await askOnce(`${url}/token`, { form, headers: { authorization } })
  expect([issued.status, typeof issued.json.access_token]).toEqual([200, 'string'])
  for (const path of ['/livez', '/readyz']) expect((await askOnce(`${url}${path}`)).status).toBe(200)
}

/** Asks until each process has written a line about it: then nothing waits in any of them. */
async function expectAllWrite({ url }: StalledServer, reading: Reading, processes: number): Promise<void> {
  for (const written = new Set<unknown>(); written.size < processes; ) {
    const answers = await Promise.all(Array.from({ length: 8 }, () => askOnce(`${url}/livez`)))
    for (const { requestId } of answers) {
      written.add((await reading.lineOf(({ request_id: id }) => id === requestId)).worker)
    }
  }
}

const told = (reading: Reading): number =>
  reading
    .lines()
    .filter(({ message }) => String(message).startsWith('lines of the log were lost'))
    .reduce((sum, { lines }) => sum + Number(lines), 0)

describe.each([
  ['one process', 'pipe', '1'],
  ['one process', 'socket', '1'],
  ['two workers', 'pipe', '2'],
  ['two workers', 'socket', '2'],
] as const)('%s with a %s that nobody reads', (_, kind, workers) => {
  it('answers, and tells a reader that returns whole lines and how many are missing', { timeout }, async () => {
    const server = await serveUnread(kind, { MAYFLY_WORKERS: workers })
    const authorization = await addBilling(server)
    await server.flood()
    await expectItServes(server, authorization)
    const reading = server.read()
    await reading.lineOf(({ message }) => String(message).startsWith('lines of the log were lost'))
    await expectAllWrite(server, reading, Number(workers))
    expect(told(reading)).toBe(await countLost(server.url))
    // In each process, in the order of what happened.
    const times = Map.groupBy(reading.lines(), ({ worker }) => worker)
    expect(times.size).toBeGreaterThanOrEqual(Number(workers))
    for (const lines of times.values()) {
      // That of the loss is made when there is room again, and stands where the lines are missing.
      const written = lines.filter(({ level }) => level !== 'warn').map(({ time }) => String(time))
      expect(written).toEqual(written.toSorted())
    }
    expect(await server.terminate()).toBe(0)
  })

  it('ends at a SIGTERM all the same', { timeout }, async () => {
    const server = await serveUnread(kind, { MAYFLY_WORKERS: workers })
    await server.fill()
    const began = performance.now()
    expect(await server.terminate()).toBe(0)
    expect(performance.now() - began).toBeLessThan(endsWithin)
  })

  it('writes its last lines for a reader that returns in time', { timeout }, async () => {
    const server = await serveUnread(kind, { MAYFLY_WORKERS: workers })
    await server.fill()
    const ended = server.terminate()
    const reading = server.read()
    expect(await ended).toBe(0)
    expect((await reading.all()).at(-1)).toMatchObject({ level: 'info', message: 'stopped' })
  })

  it('goes on when the reader is gone', { timeout }, async () => {
    const server = await serveUnread(kind, { MAYFLY_WORKERS: workers })
    const authorization = await addBilling(server)
    server.hangUp()
    await server.fill()
    await expectItServes(server, authorization)
    expect(await server.terminate()).toBe(0)
  })
})

it.each([
  ['settings', 2, { MAYFLY_PORT: '99999' }],
  ['a database that cannot be', 1, { MAYFLY_DATABASE_URL: 'file:/dev/null/mayfly.db' }],
  ['a database that cannot be, with workers', 1, { MAYFLY_DATABASE_URL: 'file:/dev/null/m.db', MAYFLY_WORKERS: '2' }],
] as const)('a start that is refused ends though nobody reads why: %s', { timeout: 60_000 }, async (_, code, env) => {
  expect(await serveFull(env)).toBe(code)
})
