/** Requests byte by byte, as no client library would send them. */
import { once } from 'node:events'
import { connect } from 'node:net'

export interface RawReply {
  readonly status: number
  readonly head: string
  readonly body: string
}

/** Sends bytes to a server and reads until it closes, or has sent one whole reply. */
export async function sendRaw(url: string, ...parts: readonly (string | Buffer)[]): Promise<RawReply> {
  const text = await exchange(url, parts)
  const end = text.indexOf('\r\n\r\n')
  return {
    status: Number(/^HTTP\/1\.[01] ([0-9]{3})/.exec(text)?.[1] ?? 0),
    head: text.slice(0, end),
    body: text.slice(end + 4),
  }
}

/** Sends bytes and returns everything that came back, until the server closed or 300 ms passed after a whole reply. */
export async function exchange(url: string, parts: readonly (string | Buffer)[]): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
    if (isWhole(text)) socket.end()
  })
  socket.on('error', () => {})
  for (const part of parts) socket.write(part)
  await once(socket, 'close')
  return text
}

function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n')
  const length = /\r\ncontent-length: ([0-9]+)/i.exec(text)?.[1]
  return end !== -1 && length !== undefined && text.length >= end + 4 + Number(length)
}
