import { execFileSync } from 'node:child_process'
import type { Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createGate, gatedSigners } from '../support/gate.ts'
import { closed, openSocket, parseReplies, readAll, serverOfFile, shortLimits } from '../support/hostile.ts'
import { honestRequest } from './requests.ts'

const signers = gatedSigners()
const socketTimeout = 1_500
const serverNow = serverOfFile({ limits: { ...shortLimits, socketTimeout }, signerHook: signers.hook })
const open = (): Promise<Socket> => openSocket(serverNow().url)
const honest = (): string => honestRequest(serverNow().basic.basic)
const formHead = `POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded`

/** Runs honest requests one after the other until a promise is settled. Each is answered, and soon. */
async function askMeanwhile(until: Promise<unknown>): Promise<number> {
  let over = false
  let asked = 0
  until.finally(() => {
    over = true
  })
  while (!over) {
    const before = performance.now()
    await serverNow().askHonestly()
    expect(performance.now() - before).toBeLessThan(2_000)
    asked += 1
  }
  return asked
}

/** How many sockets one test may open at both ends: `ulimit -n` of this process, which Node has raised to the hard limit. */
function socketsFor(wanted: number): number {
  const limit = Number(execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim())
  return Number.isNaN(limit) ? wanted : Math.min(wanted, Math.floor((limit - 200) / 2))
}

describe('a request that comes slowly', () => {
  it.each([
    ['before its first byte', ''],
    ['in its first line', 'POST /tok'],
    ['in its headers', 'POST /token HTTP/1.1\r\nHost: x\r\nX-Slow: '],
    ['in its body', `${formHead}\r\nContent-Length: 9999\r\n\r\ng`],
    ['in a chunk', `${formHead}\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n`],
    ['in the body of a GET', 'GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n'],
  ])('H06 is ended by the server when it stands still or drips %s, and harms nobody', async (_, start) => {
    const still = await open()
    const dripping = await open()
    for (const socket of [still, dripping]) socket.write(start)
    const drip = setInterval(() => start !== '' && dripping.writable && dripping.write('a'), 50)
    const ended = Promise.all([still, dripping].map(closed))
    const asked = await askMeanwhile(ended)
    clearInterval(drip)
    expect(asked).toBeGreaterThan(0)
  })

  it('H06 H15 is ended only when a good one in front of it has its reply', async () => {
    const server = serverNow()
    const before = server.state()
    const gate = createGate()
    signers.hold(gate)
    const socket = await open()
    const reading = readAll(socket)
    socket.write(`${honest()}${honest().slice(0, 60)}`, 'latin1')
    await gate.arrived
    // The second one is too slow by now; nothing tells when the server has seen that.
    await setTimeout(2 * shortLimits.requestTimeout)
    signers.hold(undefined)
    gate.open()
    const { replies, rest } = parseReplies(await reading)
    expect([replies.map(({ status }) => status), rest]).toEqual([[200], ''])
    expect(server.state()).toEqual({ ...before, issued: before.issued + 1 })
  })

  it('H06 is ended by the server when its replies are not read', async () => {
    const server = serverNow()
    const path = '/.well-known/jwks.json'
    const one = Buffer.byteLength(await (await fetch(`${server.url}${path}`)).text())
    const socket = await open()
    const requests = 4_000
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(requests))
    await new Promise((resolve) => socket.once('readable', resolve))
    await server.askHonestly()
    // Nobody reads, so nothing tells when it was ended; if it was not, all replies come when they are read at last.
    await setTimeout(2 * socketTimeout)
    expect((await readAll(socket)).length).toBeLessThan(requests * one)
  })

  it('H04 is cut off soon when it is refused and its body goes on without end', async () => {
    const head = honest().split('\r\nContent-Length')[0]
    const socket = await open()
    const reading = readAll(socket)
    socket.write(`${head}\r\nTransfer-Encoding: chunked\r\n\r\n`)
    const chunk = `4000\r\n${'a'.repeat(0x4000)}\r\n`
    let sent = 0
    const pump = setInterval(() => {
      if (!socket.writable || socket.writableNeedDrain) return
      socket.write(chunk)
      sent += chunk.length
    }, 1)
    const text = await reading
    clearInterval(pump)
    expect(parseReplies(text).replies.map(({ status }) => status)).toEqual([413])
    // 64 KiB are read, and then no more than comes in the second in which the reply is let through.
    expect(sent).toBeLessThan(32 * 1024 * 1024)
    await serverNow().askHonestly()
  })
})

describe('many connections', () => {
  it('H06 that say nothing leave the others alone, and are all closed at the end', { timeout: 60_000 }, async () => {
    const count = socketsFor(2_000)
    const sockets: Socket[] = []
    const before = performance.now()
    while (sockets.length < count) {
      sockets.push(...(await Promise.all(Array.from({ length: Math.min(200, count - sockets.length) }, open))))
    }
    const ended = Promise.all(sockets.map(closed))
    const asked = await askMeanwhile(ended)
    expect([asked > 0, sockets.every((socket) => socket.closed)]).toEqual([true, true])
    expect(performance.now() - before).toBeLessThan(30_000)
  })
})
