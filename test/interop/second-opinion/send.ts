/** One request as the table writes it, to either side; and of its reply what is compared. */
import { once } from 'node:events'
import { request } from 'node:http'
import type { Row } from './requests.ts'

/** Status and `error` code, as `400 invalid_scope`; the status alone when the reply has no code. */
export type Answer = string

/** Sends a row with the secrets of this run in the places of their names. */
export async function send(url: string, row: Row, secrets: ReadonlyMap<string, string>): Promise<Answer> {
  const fill = (text: string): string => text.replaceAll(/\{(\w+)\}/g, (all, name) => secrets.get(name) ?? all)
  const { hostname, port } = new URL(url)
  const body = row.body === undefined ? undefined : Buffer.from(fill(row.body), 'latin1')
  const headers = headersOf(row, fill)
  if (body !== undefined && !row.isChunked) headers.push('content-length', String(body.length))
  if (!row.headers?.some(([name]) => name === 'host')) headers.push('host', `${hostname}:${port}`)
  const outgoing = request({ hostname, port, method: row.method, path: fill(row.path), headers, agent: false })
  // A server may refuse a long body before it has read all of it.
  outgoing.on('error', () => {})
  outgoing.end(body)
  const [reply] = (await once(outgoing, 'response')) as [import('node:http').IncomingMessage]
  let text = ''
  reply.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await once(reply, 'close')
  return [reply.statusCode, codeOf(text)].filter((part) => part !== undefined).join(' ')
}

function headersOf(row: Row, fill: (text: string) => string): string[] {
  const headers: string[] = []
  for (const credentials of row.basic === undefined ? [] : [row.basic].flat())
    headers.push('authorization', `Basic ${Buffer.from(fill(credentials), 'latin1').toString('base64')}`)
  if (row.type !== undefined) for (const type of [row.type].flat()) headers.push('content-type', type)
  for (const [name, value] of row.headers ?? []) headers.push(name, encodeIn(fill(value)))
  return headers
}

/** `b64(…)` in a header stands for the base64 of what is in it. */
function encodeIn(value: string): string {
  return value.replaceAll(/b64\((.*?)\)/g, (_, text: string) => Buffer.from(text, 'latin1').toString('base64'))
}

function codeOf(text: string): string | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: unknown }
    return typeof error === 'string' ? error : undefined
  } catch {
    return undefined
  }
}
