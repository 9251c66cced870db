import { describe, expect, it } from 'vitest'
import { createSharedCounts } from '../../src/http/shared-counts.ts'
import { createSharedMemory, SharedLine, type SharedQuestions, serveSharedMemory } from '../../src/http/shared-line.ts'
import { createSharedProofs } from '../../src/http/shared-proofs.ts'
import { Channel, type Subjects } from '../../src/lib/channel.ts'
import { silentLog } from '../../src/lib/log.ts'
import { makeReplayUse } from '../../src/oauth/replay.ts'
import { ManualClock } from '../support/clock.ts'

const settings = {
  rateLimitMode: 'enforce' as const,
  rateLimitFailures: 100,
  rateLimitPerClient: 10,
  rateLimitIntrospection: undefined,
}

/** A supervisor and its workers, with the messages as JSON makes them. */
function startWorkers(count: number) {
  const clock = new ManualClock()
  const memory = createSharedMemory(settings, clock)
  const lines: string[] = []
  const sent: string[] = []
  const log = {
    ...silentLog,
    warn: (_: object, text: string) => lines.push(text),
    info: (_: object, text: string) => lines.push(text),
  }
  const state = { answers: true }
  const workers = Array.from({ length: count }, () => {
    const worker: Channel<Subjects, SharedQuestions> = new Channel((message) => {
      sent.push(JSON.stringify(message))
      if (state.answers) supervisor.receive(JSON.parse(JSON.stringify(message)))
    })
    const supervisor: Channel<SharedQuestions, Subjects> = new Channel((message) =>
      worker.receive(JSON.parse(JSON.stringify(message))),
    )
    serveSharedMemory(supervisor, memory)
    const own = createSharedMemory(settings, clock)
    const line = new SharedLine({ channel: worker, clock, log })
    return {
      channel: worker,
      /** What a supervisor that was paused finds when it goes on. */
      deliver: (messages: readonly string[]) => {
        for (const message of messages) supervisor.receive(JSON.parse(message))
      },
      counts: createSharedCounts(line, own.counts),
      proofs: createSharedProofs(line, own.proofs),
    }
  })
  return { clock, workers, lines, sent, state }
}

/** Resolves when so many successes have been told. */
async function told(sent: readonly string[], count: number): Promise<void> {
  const successes = (): number =>
    sent
      .map((line) => JSON.parse(line) as { subject?: string; body: unknown[] })
      .filter(({ subject }) => subject === 'failures.takeBack')
      .reduce((sum, { body }) => sum + body.length, 0)
  while (successes() < count) await new Promise((resolve) => setImmediate(resolve))
}

describe('what workers share', () => {
  it('let a hundred failures of an address pass at four workers together', async () => {
    const { workers } = startWorkers(4)
    const passed: unknown[] = []
    for (let i = 0; i < 104; i += 1)
      passed.push(await workers[i % 4]?.counts.failures.count({ address: 'a', client: `c${i}` }))
    expect(passed.slice(0, 100)).toEqual(Array.from({ length: 100 }, () => undefined))
    for (const each of passed.slice(100))
      expect(each).toMatchObject({ by: 'address', state: { name: 'failures', quota: 100 } })
    expect(await workers[2]?.counts.failures.judge({ address: 'a' })).toMatchObject({ by: 'address' })
    expect(await workers[2]?.counts.failures.judge({ address: 'b' })).toBeUndefined()
  })

  it('count exactly so many of those that come at once', async () => {
    const { workers } = startWorkers(3)
    const all = await Promise.all(
      Array.from({ length: 300 }, (_, i) => workers[i % 3]?.counts.failures.count({ address: 'a' })),
    )
    expect(all.filter((each) => each === undefined)).toHaveLength(100)
  })

  it('take a failure back that a success at another worker follows', async () => {
    const { workers, sent } = startWorkers(2)
    const [one, two] = workers
    const keys = { address: 'a', client: 'c' }
    for (let i = 0; i < 100; i += 1) await one?.counts.failures.count(keys)
    expect(await two?.counts.failures.judge(keys)).toMatchObject({ by: 'address' })
    await two?.counts.failures.takeBack(keys)
    await told(sent, 1)
    expect(await one?.counts.failures.judge(keys)).toBeUndefined()
  })

  it('tell of many successes in few messages, and of those without a client in none', async () => {
    const { workers, sent } = startWorkers(1)
    for (let i = 0; i < 1_000; i += 1) await workers[0]?.counts.failures.takeBack({ address: 'a', client: 'c' })
    await workers[0]?.counts.failures.takeBack({ address: 'a' })
    await told(sent, 1_000)
    expect(sent.length).toBeLessThan(10)
    expect(sent.flatMap((line) => (JSON.parse(line) as { body: unknown[] }).body)).toHaveLength(1_000)
  })

  it('count the requests of a client over all workers, at each endpoint by itself', async () => {
    const { workers } = startWorkers(2)
    const used: unknown[] = []
    for (let i = 0; i < 12; i += 1) used.push((await workers[i % 2]?.counts.requests.token?.add('billing'))?.used)
    expect(used).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
    await workers[0]?.counts.requests.token?.takeBack('billing')
    expect((await workers[1]?.counts.requests.token?.add('billing'))?.used).toBe(12)
    expect((await workers[1]?.counts.requests.revoke?.add('billing'))?.used).toBe(1)
    expect(workers[0]?.counts.requests.token?.limit).toBe(10)
    expect(workers[0]?.counts.requests.introspect).toBeUndefined()
  })

  it('go on in each worker alone without a supervisor, say so once, and come back', async () => {
    const { clock, workers, lines, state } = startWorkers(2)
    const [one, two] = workers
    state.answers = false
    const keys = { address: 'a', client: 'c' }
    expect(await one?.counts.failures.count(keys)).toBeUndefined()
    // Nobody waits again for a second.
    for (let i = 1; i < 100; i += 1) expect(await one?.counts.failures.count(keys)).toBeUndefined()
    expect(await one?.counts.failures.count(keys)).toMatchObject({ by: 'address' })
    expect((await two?.counts.requests.token?.add('billing'))?.used).toBe(1)
    expect(lines).toEqual(Array.from({ length: 2 }, () => expect.stringMatching(/by this worker alone/) as string))
    state.answers = true
    clock.advance(1)
    expect(await one?.counts.failures.count(keys)).toBeUndefined()
    expect(lines.at(-1)).toMatch(/with the other workers again/)
  })

  it('let a proof pass at the first worker that it comes to, and at no other', async () => {
    const { workers, clock, state } = startWorkers(3)
    const now = clock.nowMilliseconds()
    const use = (name: string) => makeReplayUse('proof', [name], now + 60_000)
    expect(await workers[0]?.proofs.isFirst(use('a'), now)).toBe(true)
    for (const worker of workers) expect(await worker.proofs.isFirst(use('a'), now)).toBe(false)
    const many = await Promise.all(Array.from({ length: 30 }, (_, i) => workers[i % 3]?.proofs.isFirst(use('b'), now)))
    expect(many.filter((isFirst) => isFirst)).toHaveLength(1)
    state.answers = false
    expect(await workers[1]?.proofs.isFirst(use('c'), now)).toBe(true)
    expect(await workers[1]?.proofs.isFirst(use('c'), now)).toBe(false)
  })

  it('know a proof that one of them let pass alone, once the supervisor answers again', async () => {
    const { workers, clock, state, sent } = startWorkers(2)
    const now = clock.nowMilliseconds()
    const use = (name: string) => makeReplayUse('proof', [name], now + 60_000)
    state.answers = false
    for (const name of ['a', 'b', 'c']) expect(await workers[0]?.proofs.isFirst(use(name), now)).toBe(true)
    state.answers = true
    workers[0]?.deliver(sent)
    clock.advance(1)
    for (const name of ['a', 'b', 'c']) expect(await workers[1]?.proofs.isFirst(use(name), now)).toBe(false)
  })

  it('never hold up a request when the channel is gone', async () => {
    const { workers } = startWorkers(1)
    workers[0]?.channel.close()
    expect(await workers[0]?.counts.failures.judge({ address: 'a' })).toBeUndefined()
    expect((await workers[0]?.counts.requests.token?.add('billing'))?.used).toBe(1)
  })
})
