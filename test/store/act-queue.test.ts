import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from '../support/clock.ts'
import { temporaryFolder } from '../support/process.ts'

const refused = { type: 'token.refusals_sampled', address: '192.0.2.1', counts: {} } as const

/** A store whose clock stands still, and how many acts each of its commits has carried. */
function openWatched(): { readonly store: Store; readonly commits: readonly number[] } {
  const commits: number[] = []
  const place = join(temporaryFolder(), 'mayfly.db')
  const events = { onCommit: (acts: number) => void commits.push(acts) }
  const store = openStore(place, { create: true, examine: false, clock: new ManualClock(), events })
  onTestFinished(() => store.close())
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  return { store, commits }
}

/** Refusals as a flood brings them: each in a turn of the loop of its own. */
async function refuse(store: Store, times: number): Promise<readonly Promise<void>[]> {
  const waiting: Promise<void>[] = []
  for (let made = 0; made < times; made += 1) {
    waiting.push(store.recordRefusal(refused))
    for (let turns = 0; turns < 3; turns += 1) await turn()
  }
  return waiting
}

describe('refusals of a flood', () => {
  it('get one commit at once, and the next together when some time has passed', async () => {
    const { store, commits } = openWatched()
    await store.recordRefusal(refused)
    const waiting = await refuse(store, 20)
    expect(commits).toEqual([1])
    await vi.advanceTimersByTimeAsync(19)
    for (let turns = 0; turns < 5; turns += 1) await turn()
    expect(commits).toEqual([1])
    await vi.advanceTimersByTimeAsync(1)
    await Promise.all(waiting)
    expect(commits).toEqual([1, 20])
    expect(await store.listAudit({ limit: 100 })).toHaveLength(21)
  })

  it('go with the first act that cannot wait, which does not wait for them', async () => {
    const { store, commits } = openWatched()
    await store.recordRefusal(refused)
    const waiting = await refuse(store, 20)
    await store.checkWritable()
    expect(commits).toEqual([1, 21])
    await Promise.all(waiting)
    await refuse(store, 5)
    await store.checkWritable()
    expect(commits).toEqual([1, 21, 6])
  })

  it('are written before the store is closed, however little time has passed', async () => {
    const { store, commits } = openWatched()
    await store.recordRefusal(refused)
    const waiting = await refuse(store, 3)
    await store.close()
    await Promise.all(waiting)
    expect(commits).toEqual([1, 3])
  })
})
