import { describe, expect, it } from 'vitest'
import { HostSlots } from '../../src/outbound/host-slots.ts'
import { createGate } from '../support/gate.ts'
import { failureOf } from '../support/outside.ts'

const limits = { running: 2, waiting: 2, hosts: 2 }
const never = new AbortController().signal

/** Puts tasks in line that end when they are told to. */
function line(slots: HostSlots) {
  const begun: string[] = []
  return {
    begun,
    put: (name: string, host = 'a', signal = never) => {
      const gate = createGate()
      const done = slots.run(host, signal, async () => {
        begun.push(name)
        await gate.pass()
        return name
      })
      return { done, begins: gate.arrived, end: gate.open }
    },
  }
}

describe('slots', () => {
  it('run some at a time, and the others in the order in which they came', async () => {
    const { begun, put } = line(new HostSlots(limits))
    const [one, two, three, four] = ['1', '2', '3', '4'].map((name) => put(name))
    await two?.begins
    expect(begun).toEqual(['1', '2'])
    two?.end()
    await three?.begins
    expect(begun).toEqual(['1', '2', '3'])
    for (const task of [one, three, four]) task?.end()
    expect(await Promise.all([one, two, three, four].map((task) => task?.done))).toEqual(['1', '2', '3', '4'])
  })

  it('S06 turn away whoever comes when the line is full, and no other host', async () => {
    const { put } = line(new HostSlots(limits))
    const tasks = ['1', '2', '3', '4'].map((name) => put(name))
    expect(await failureOf(put('5').done)).toBe('busy')
    const other = put('other', 'b')
    other.end()
    expect(await other.done).toBe('other')
    for (const { end } of tasks) end()
    expect(await Promise.all(tasks.map(({ done }) => done))).toHaveLength(4)
  })

  it('turn away another host when there are too many, and take it when one is done', async () => {
    const { put } = line(new HostSlots(limits))
    const a = put('a', 'a')
    const b = put('b', 'b')
    expect(await failureOf(put('c', 'c').done)).toBe('busy')
    a.end()
    await a.done
    const c = put('c', 'c')
    c.end()
    b.end()
    expect(await Promise.all([b.done, c.done])).toEqual(['b', 'c'])
  })

  it('let go of one that no longer waits', async () => {
    const { begun, put } = line(new HostSlots(limits))
    const running = [put('1'), put('2')]
    const controller = new AbortController()
    const gone = put('3', 'a', controller.signal)
    const next = put('4')
    controller.abort()
    expect(await failureOf(gone.done)).toBe('timeout')
    const late = put('5')
    for (const { end } of [...running, next, late]) end()
    expect(await Promise.all([next.done, late.done])).toEqual(['4', '5'])
    expect(begun).toEqual(['1', '2', '4', '5'])
  })

  it('are free again after a task that failed', async () => {
    const slots = new HostSlots({ running: 1, waiting: 1, hosts: 1 })
    const failing = slots.run('a', never, () => Promise.reject(new Error('broken')))
    const waiting = slots.run('a', never, async () => 'served')
    await expect(failing).rejects.toThrow('broken')
    expect(await waiting).toBe('served')
    expect(await slots.run('b', never, async () => 'served')).toBe('served')
  })
})
