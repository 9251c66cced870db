import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { DocumentFetcher, maxDocumentBytes } from '../../src/outbound/document-fetcher.ts'
import {
  certify,
  failureOf,
  fetcherTo,
  json,
  keysHost,
  keysUrl,
  leadTo,
  startOutside,
  testRoot,
} from '../support/outside.ts'
import { freePort } from '../support/process.ts'
import { makeAuthority, makeSelfSigned } from '../support/x509.ts'

const anHour = 3_600_000
const document = { keys: [] }
/** Long enough for a loaded machine to answer, short enough to wait for. */
const soon = 1_500

/** A listener that counts who comes, and answers nobody. */
async function startTrap(): Promise<{ port: number; touched(): number }> {
  let touched = 0
  const server = createServer((socket: Socket) => {
    touched += 1
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { port: address.port, touched: () => touched }
}

describe('the fetcher', () => {
  it('fetches a document', async () => {
    const outside = await startOutside(json(document, { 'cache-control': 'max-age=60' }))
    expect(await fetcherTo(outside).fetch(keysUrl)).toEqual({ text: '{"keys":[]}', cacheControl: 'max-age=60' })
  })

  it('says nothing of us, asks for no encoding, and sends the host and the path as they are', async () => {
    const outside = await startOutside(json(document))
    await fetcherTo(outside).fetch(`https://${keysHost}:8443/a/b?c=d%20e`)
    const [request] = outside.requests
    expect(request?.method).toBe('GET')
    expect(request?.url).toBe('/a/b?c=d%20e')
    expect(request?.headers).toEqual({
      host: `${keysHost}:8443`,
      accept: 'application/jwk-set+json, application/json',
      'accept-encoding': 'identity',
      'user-agent': 'mayfly',
      connection: 'close',
    })
  })

  it.each(['application/json', 'application/jwk-set+json', 'Application/JSON; charset=utf-8', 'application/json;x=y'])(
    'takes %s',
    async (type) => {
      const outside = await startOutside(json(document, { 'content-type': type }))
      expect((await fetcherTo(outside).fetch(keysUrl)).text).toBe('{"keys":[]}')
    },
  )

  it.each([
    'text/html',
    'text/plain',
    'application/octet-stream',
    'application/jsonp',
    'text/html;application/json',
    '',
  ])('refuses a document of the type %j', async (type) => {
    const outside = await startOutside(json(document, { 'content-type': type }))
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('content_type')
  })

  it.each([201, 203, 204, 206, 304, 400, 401, 403, 404, 410, 429, 500, 503])('refuses status %i', async (status) => {
    const outside = await startOutside((_request, response) => {
      response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(status === 204 || status === 304 ? '' : '{}')
    })
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('status')
  })

  it('refuses bytes that are not UTF-8', async () => {
    const outside = await startOutside((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(Buffer.from([0x7b, 0xff, 0x7d]))
    })
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('malformed')
  })

  it('tells why it has none: no address, no TLS', async () => {
    const trap = await startTrap()
    const resolve = (): Promise<never> => Promise.reject(new Error('ENOTFOUND'))
    expect(await failureOf(fetcherTo(trap, { resolve }).fetch(keysUrl))).toBe('unresolved')
    expect(await failureOf(fetcherTo(trap, { resolve: async () => [] }).fetch(keysUrl))).toBe('unresolved')
    expect(trap.touched()).toBe(0)
    expect(await failureOf(fetcherTo(trap).fetch(keysUrl))).toBe('tls')
    expect(trap.touched()).toBe(1)
  })

  it('tells when nobody listens', async () => {
    const port = await freePort()
    expect(await failureOf(fetcherTo({ port }).fetch(keysUrl))).toBe('unreachable')
  })
})

describe('S01 where a request goes', () => {
  it.each([
    'https://127.0.0.1/',
    'https://127.1/',
    'https://2130706433/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://0.0.0.0/',
    'https://169.254.169.254/latest/meta-data/',
    'https://localhost/',
    'https://localhost./',
    `https://${keysHost}:22/`,
    `https://${keysHost}:6379/`,
    `http://${keysHost}/`,
    `https://u:p@${keysHost}/`,
  ])('is not %s: no name is resolved, nothing is sent', async (url) => {
    const outside = await startOutside(json(document))
    const resolve = vi.fn(leadTo(outside).resolve)
    expect(await failureOf(fetcherTo(outside, { resolve, isAllowedAddress: () => true }).fetch(url))).toBe(
      'url_refused',
    )
    expect(resolve).not.toHaveBeenCalled()
    expect(outside.connections()).toBe(0)
  })

  it.each([
    [['127.0.0.1']],
    [['0.0.0.0']],
    [['::1', '127.0.0.1']],
    [['10.1.2.3']],
    [['100.64.0.1']],
    [['169.254.169.254']],
    [['fd00:ec2::254']],
    [['::ffff:127.0.0.1']],
    [['64:ff9b::7f00:1']],
    [['1.1.1.1', '127.0.0.1']],
    [['2606:4700:4700::1111', 'fe80::1']],
  ])('is no name that has the addresses %j, not even one of them', async (addresses) => {
    const trap = await startTrap()
    const resolve = async () => addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    const fetcher = new DocumentFetcher({ resolve, dialPort: trap.port, ca: testRoot().certificate })
    expect(await failureOf(fetcher.fetch(keysUrl))).toBe('address_refused')
    expect(trap.touched()).toBe(0)
  })

  it('S02 is the address that was checked: a name is resolved once', async () => {
    const outside = await startOutside(json(document))
    let asked = 0
    const resolve = async () => {
      asked += 1
      return [{ address: asked === 1 ? '127.0.0.1' : '10.0.0.1', family: 4 }]
    }
    const fetcher = fetcherTo(outside, { resolve })
    expect((await fetcher.fetch(keysUrl)).text).toBe('{"keys":[]}')
    expect(asked).toBe(1)
    // The next request is checked anew.
    expect(await failureOf(fetcher.fetch(keysUrl))).toBe('address_refused')
    expect(outside.connections()).toBe(1)
  })

  it.each([301, 302, 303, 307, 308])('S03 is not where a redirect with %i leads', async (status) => {
    const inside = await startOutside(json(document))
    const outside = await startOutside((_request, response) => {
      response.writeHead(status, {
        location: `https://${keysHost}:${inside.port}/`,
        'content-type': 'application/json',
      })
      response.end('{"keys":[]}')
    })
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('status')
    expect(outside.requests).toHaveLength(1)
    expect(inside.connections()).toBe(0)
  })
})

describe('S04 S06 what a request costs', () => {
  it.each(['gzip', 'br', 'deflate', 'zstd', 'x-gzip', 'identity, gzip'])(
    'is not what %s unpacks to',
    async (encoding) => {
      const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024, 0x20))
      const outside = await startOutside((_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': encoding }).end(bomb)
      })
      expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('content_encoding')
    },
  )

  it('is 64 KiB at most, announced or not', async () => {
    const exact = `"${'x'.repeat(maxDocumentBytes - 2)}"`
    const bodies = [exact, `${exact} `, exact, `${exact} `]
    const outside = await startOutside((_request, response) => {
      const body = bodies[outside.requests.length - 1] ?? ''
      const length = outside.requests.length > 2 ? {} : { 'content-length': body.length }
      response.writeHead(200, { 'content-type': 'application/json', ...length }).write(body)
      response.end()
    })
    const fetcher = fetcherTo(outside)
    expect((await fetcher.fetch(keysUrl)).text).toHaveLength(maxDocumentBytes)
    expect(await failureOf(fetcher.fetch(keysUrl))).toBe('too_large')
    expect((await fetcher.fetch(keysUrl)).text).toHaveLength(maxDocumentBytes)
    expect(await failureOf(fetcher.fetch(keysUrl))).toBe('too_large')
  })

  it('ends when a body goes on for ever: the rest is not read', async () => {
    const closed = Promise.withResolvers<void>()
    const outside = await startOutside((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const pour = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(16_384, 0x20)));
      }
      response.on('drain', pour).once('close', closed.resolve)
      pour()
    })
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('too_large')
    await closed.promise
  })

  it('refuses headers without end', async () => {
    const outside = await startOutside((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'x-long': 'x'.repeat(16_384) }).end('{}')
    })
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('unreachable')
  })

  const slow: readonly (readonly [string, RequestListener])[] = [
    ['says nothing', () => {}],
    [
      'says no more than its headers',
      (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{'),
    ],
    [
      'drips',
      (_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        const drip = setInterval(() => response.write(' '), 20)
        response.once('close', () => clearInterval(drip))
      },
    ],
    [
      'promises for ever',
      (_request, response) => {
        const drip = setInterval(() => response.writeProcessing(), 20)
        response.once('close', () => clearInterval(drip))
      },
    ],
  ]

  it.each(slow)('ends at its deadline when the peer %s', async (_name, answer) => {
    const outside = await startOutside(answer)
    const started = performance.now()
    expect(await failureOf(fetcherTo(outside, { deadlineMilliseconds: 300 }).fetch(keysUrl))).toBe('timeout')
    expect(performance.now() - started).toBeLessThan(soon)
  })

  it('ends at its deadline when DNS does not answer, and DNS keeps its slot until it does', async () => {
    const outside = await startOutside(json(document))
    const answer = Promise.withResolvers<{ address: string; family: number }[]>()
    const options = { deadlineMilliseconds: 100, slots: { running: 1, waiting: 1, hosts: 2 } }
    const fetcher = fetcherTo(outside, { ...options, resolve: () => answer.promise })
    expect(await failureOf(fetcher.fetch(keysUrl))).toBe('timeout')
    const waiting = failureOf(fetcher.fetch(keysUrl))
    expect(await failureOf(fetcher.fetch(keysUrl))).toBe('busy')
    expect(await waiting).toBe('timeout')
    answer.resolve([{ address: '127.0.0.1', family: 4 }])
    await answer.promise
    expect(outside.connections()).toBe(0)
  })

  it('ends when the peer switches to another protocol, and leaves its slot to the next', async () => {
    const outside = await startOutside((request, response) => {
      if (outside.requests.length > 2) json(document)(request, response)
      else request.socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
    })
    const fetcher = fetcherTo(outside, { slots: { running: 1, waiting: 0, hosts: 1 } })
    for (let i = 0; i < 2; i += 1) expect(await failureOf(fetcher.fetch(keysUrl))).toBe('unreachable')
    expect((await fetcher.fetch(keysUrl)).text).toBe('{"keys":[]}')
  })

  it('ends when the fetcher is closed', async () => {
    const outside = await startOutside(() => {})
    const fetcher = fetcherTo(outside)
    const failure = failureOf(fetcher.fetch(keysUrl))
    await outside.nextRequest()
    fetcher.close()
    expect(await failure).toBe('timeout')
  })

  it('is borne by its own host: another one is served meanwhile', async () => {
    const arrived = Promise.withResolvers<void>()
    const outside = await startOutside(
      (request, response) => {
        if (request.headers.host !== keysHost) json(document)(request, response)
        else if (outside.requests.length === 2) arrived.resolve()
      },
      certify({ dnsNames: [keysHost, 'other.example.test'] }),
    )
    const fetcher = fetcherTo(outside, { deadlineMilliseconds: 1_000, slots: { running: 2, waiting: 0, hosts: 8 } })
    const stuck = [1, 2].map(() => failureOf(fetcher.fetch(keysUrl)))
    await arrived.promise
    expect(await failureOf(fetcher.fetch(keysUrl))).toBe('busy')
    expect((await fetcher.fetch('https://other.example.test/')).text).toBe('{"keys":[]}')
    expect(await Promise.all(stuck)).toEqual(['timeout', 'timeout'])
    expect(outside.requests.map(({ headers }) => headers.host)).toEqual([keysHost, keysHost, 'other.example.test'])
  })

  it('fails when a body ends before its announced end', async () => {
    const outside = await startOutside((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' }).write('{"keys":[]}')
      setImmediate(() => response.destroy())
    })
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('unreachable')
  })
})

describe('S11 a certificate', () => {
  it.each([
    ['of a root that nobody believes', () => makeAuthority('Other').issue({ dnsNames: [keysHost] })],
    ['that vouches for itself', () => makeSelfSigned({ dnsNames: [keysHost] })],
    ['of another host', () => certify({ dnsNames: ['evil.example.test'] })],
    ['whose name stands in its subject alone', () => certify({ subject: [['CN', keysHost]], dnsNames: ['x.test'] })],
    ['of the address', () => certify({ dnsNames: [], ips: ['127.0.0.1'] })],
    [
      'that has expired',
      () => certify({ notBefore: new Date(Date.now() - 2 * anHour), notAfter: new Date(Date.now() - anHour) }),
    ],
    [
      'that is not valid yet',
      () => certify({ notBefore: new Date(Date.now() + anHour), notAfter: new Date(Date.now() + 2 * anHour) }),
    ],
    ['of a client', () => certify({ usages: ['clientAuth'] })],
  ])('%s is refused, and nothing is asked', async (_name, make) => {
    const outside = await startOutside(json(document), make())
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('tls')
    expect(outside.requests).toEqual([])
  })

  it('is refused though the environment says that none need be verified', async () => {
    const outside = await startOutside(json(document), makeSelfSigned({ dnsNames: [keysHost] }))
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    onTestFinished(() => void vi.unstubAllEnvs())
    expect(await failureOf(fetcherTo(outside).fetch(keysUrl))).toBe('tls')
  })

  it('of the machine\u2019s own roots alone is believed when nothing else is said', async () => {
    const outside = await startOutside(json(document))
    const { ca: _ca, ...options } = leadTo(outside)
    expect(await failureOf(new DocumentFetcher(options).fetch(keysUrl))).toBe('tls')
  })
})
