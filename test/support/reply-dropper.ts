/**
 * Between a store and its PostgreSQL: passes everything on, and when it is told to, lets a message through to the server and
 * ends the connection once the server has answered it, without passing the answer on; or keeps silent for a while, as a
 * network does that has lost its way.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export class ReplyDropper {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #pattern: RegExp | undefined
  /** What waits to be passed on, while it keeps silent. */
  #held: (() => void)[] | undefined
  /** How many answers were dropped. */
  dropped = 0

  private constructor(target: number) {
    this.#server = createServer((client) => this.#join(client, target))
  }

  /** @param url of a database @returns it, and the URL that leads to it through here */
  static async before(url: string): Promise<{ dropper: ReplyDropper; url: string }> {
    const through = new URL(url)
    const dropper = new ReplyDropper(Number(through.port))
    dropper.#server.listen(0, '127.0.0.1')
    await once(dropper.#server, 'listening')
    onTestFinished(() => dropper.#close())
    const address = dropper.#server.address()
    through.port = String(typeof address === 'object' ? address?.port : '')
    return { dropper, url: through.href }
  }

  /** Drops the answer to the next message that holds a text, and to as many after it as are asked for. */
  dropNext(pattern: RegExp): void {
    this.#pattern = pattern
  }

  /** Passes nothing on, either way, and says nothing of it. */
  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const pass of held) pass()
  }

  #pass(act: () => void): void {
    if (this.#held === undefined) act()
    else this.#held.push(act)
  }

  #join(client: Socket, target: number): void {
    const server = connect(target, '127.0.0.1')
    let isDropping = false
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => this.#sockets.delete(socket))
    }
    client.on('data', (chunk: Buffer) => {
      if (this.#pattern?.test(chunk.toString('latin1')) === true) {
        this.#pattern = undefined
        isDropping = true
      }
      this.#pass(() => void server.write(chunk))
    })
    server.on('data', (chunk: Buffer) => {
      if (!isDropping) this.#pass(() => void client.write(chunk))
      // The server is ready for the next message, so it has done what it was asked.
      else if (isReady(chunk)) {
        this.dropped += 1
        client.destroy()
        server.destroy()
      }
    })
    client.on('close', () => server.destroy())
    server.on('close', () => client.destroy())
  }

  #close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

// ReadyForQuery: `Z`, its length of 5, and a letter (https://www.postgresql.org/docs/current/protocol-message-formats.html).
function isReady(chunk: Buffer): boolean {
  return chunk.length >= 6 && chunk.readUInt8(chunk.length - 6) === 0x5a && chunk.readUInt32BE(chunk.length - 5) === 5
}
