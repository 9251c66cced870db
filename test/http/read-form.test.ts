import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { maxBodyBytes, readForm } from '../../src/http/form.ts'
import { OAuthError } from '../../src/oauth/errors.ts'

interface Exchange {
  /** The client's end of the connection. */
  readonly client: Socket
  readonly incoming: IncomingMessage
  /** The parameter `a`, or what refused the request. */
  readonly outcome: Promise<string | undefined | OAuthError>
}

/** A request as Node's own HTTP server receives it: these headers, and what is sent of a body so far. */
async function receive(headers: readonly string[], ...body: readonly (string | Buffer)[]): Promise<Exchange> {
  const server = createServer({ requestTimeout: 0 }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const client = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1')
  client.on('error', () => {})
  onTestFinished(() => {
    client.destroy()
    server.closeAllConnections()
    server.close()
  })
  client.write(['POST /token HTTP/1.1', 'Host: x', ...headers, '', ''].join('\r\n'))
  const [incoming] = (await once(server, 'request')) as [IncomingMessage]
  const outcome = readForm(incoming).then(
    (form) => form.get('a'),
    (error: unknown) => {
      if (error instanceof OAuthError) return error
      throw error
    },
  )
  for (const part of body) client.write(part)
  return { client, incoming, outcome }
}

const urlEncoded = 'Content-Type: application/x-www-form-urlencoded'

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`
}

/** A whole body with its length. */
async function readWhole(headers: readonly string[], body = 'a=x'): Promise<string | undefined | OAuthError> {
  const { outcome } = await receive([...headers, `Content-Length: ${body.length}`], body)
  return outcome
}

describe('the form of a request', () => {
  it('is its body', async () => {
    await expect(readWhole([urlEncoded], 'a=%C3%A9+x')).resolves.toBe('é x')
  })

  it('is refused, and waited for no longer, when its peer had gone before it is read', async () => {
    const { client, incoming, outcome } = await receive([urlEncoded, 'Content-Length: 9'], 'a=x')
    client.destroy()
    await expect(outcome).resolves.toMatchObject({ reason: 'body_incomplete' })
    expect(incoming.destroyed).toBe(true)
    await expect(readForm(incoming)).rejects.toMatchObject({ reason: 'body_incomplete' })
  })

  it('is empty without a body', async () => {
    await expect(readWhole([urlEncoded], '')).resolves.toBeUndefined()
    await expect((await receive([urlEncoded])).outcome).resolves.toBeUndefined()
  })

  it('is the same in however many pieces it comes', async () => {
    const { outcome, client } = await receive([urlEncoded, 'Transfer-Encoding: chunked'], chunk('a=o'), chunk('ne'))
    client.write(`${chunk(' more'.replace(' ', '+'))}0\r\n\r\n`)
    await expect(outcome).resolves.toBe('one more')
  })

  it('may have 64 KiB, with a length or in pieces', async () => {
    const value = 'x'.repeat(maxBodyBytes - 2)
    await expect(readWhole([urlEncoded], `a=${value}`)).resolves.toBe(value)
    const body = `${chunk('a=')}${chunk(value)}0\r\n\r\n`
    const { outcome } = await receive([urlEncoded, 'Transfer-Encoding: chunked'], body)
    await expect(outcome).resolves.toBe(value)
  })

  it.each([
    'application/x-www-form-urlencoded',
    'Application/X-WWW-Form-URLEncoded',
    'application/x-www-form-urlencoded;charset=UTF-8',
    'application/x-www-form-urlencoded; charset=utf-8',
    'application/x-www-form-urlencoded \t;\t charset="utf-8"',
    'application/x-www-form-urlencoded;',
    'application/x-www-form-urlencoded;; charset=utf-8 ;',
  ])('HTTP-09 may be called %s', async (type) => {
    await expect(readWhole([`Content-Type: ${type}`])).resolves.toBe('x')
  })

  it.each([
    ['no content type', []],
    ['an empty content type', ['Content-Type:']],
    ['JSON', ['Content-Type: application/json']],
    ['multipart', ['Content-Type: multipart/form-data; boundary=x']],
    ['a type that begins like it', ['Content-Type: application/x-www-form-urlencoded-v2']],
    ['a type that ends like it', ['Content-Type: x-application/x-www-form-urlencoded']],
    ['two types', ['Content-Type: application/x-www-form-urlencoded, text/plain']],
    ['another charset', ['Content-Type: application/x-www-form-urlencoded; charset=utf-16']],
    ['a charset that is not spelt as registered', ['Content-Type: application/x-www-form-urlencoded; charset=utf8']],
    ['a charset that goes on', ['Content-Type: application/x-www-form-urlencoded; charset=utf-8x']],
    ['a quotation that does not end', ['Content-Type: application/x-www-form-urlencoded; charset="utf-8']],
    ['a quotation that does not begin', ['Content-Type: application/x-www-form-urlencoded; charset=utf-8"']],
    ['a parameter without its semicolon', ['Content-Type: application/x-www-form-urlencoded charset=utf-8']],
    ['an unknown parameter', ['Content-Type: application/x-www-form-urlencoded; x=y']],
    ['two charsets', ['Content-Type: application/x-www-form-urlencoded; charset=utf-8; charset=utf-7']],
    ['a compressed body', [urlEncoded, 'Content-Encoding: gzip']],
    ['a body that says that it is not compressed', [urlEncoded, 'Content-Encoding: identity']],
  ])('HTTP-09 is not taken from %s', async (_, headers) => {
    await expect(readWhole(headers)).resolves.toMatchObject({ reason: 'content_type_unsupported' })
  })

  it('is refused by its length alone, before any of it has come', async () => {
    const { outcome } = await receive([urlEncoded, `Content-Length: ${maxBodyBytes + 1}`])
    await expect(outcome).resolves.toMatchObject({ reason: 'body_too_large' })
  })

  it('is refused as soon as more than 64 KiB have come without a length', async () => {
    const pieces = [chunk(`a=${'x'.repeat(maxBodyBytes - 2)}`), chunk('x')]
    const { outcome } = await receive([urlEncoded, 'Transfer-Encoding: chunked'], ...pieces)
    await expect(outcome).resolves.toMatchObject({ reason: 'body_too_large' })
  })

  it('is refused when its sender hangs up in the middle, and the reason keeps what happened', async () => {
    const { client, outcome } = await receive([urlEncoded, 'Content-Length: 10'], 'a=x')
    client.destroy()
    const refusal = await outcome
    expect(refusal).toMatchObject({ reason: 'body_incomplete', cause: { code: 'ECONNRESET' } })
  })

  it('is refused when the server gives the connection up before all has come', async () => {
    const { incoming, outcome } = await receive([urlEncoded, 'Content-Length: 10'], 'a=x')
    incoming.destroy()
    await expect(outcome).resolves.toMatchObject({ reason: 'body_incomplete' })
  })

  it('is refused when what has come whole is no form', async () => {
    await expect(readWhole([urlEncoded], 'a=%zz')).resolves.toMatchObject({ reason: 'form_malformed' })
    await expect(readWhole([urlEncoded], 'a=\xe9')).resolves.toMatchObject({ reason: 'form_malformed' })
  })
})
