import { once } from 'node:events'
import { Agent, createServer, get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Certificate, readCertificate } from '../../src/client/x509.ts'
import { createCertificateOf } from '../../src/http/client-certificate.ts'
import { type Identity, makeAuthority, makeIdentity, makeServerIdentity } from '../support/certificates.ts'
import { ManualClock } from '../support/clock.ts'

const read = ({ der }: Identity): Certificate => readCertificate(Buffer.from(der, 'base64'))

/** An authority that counts how often something of it is looked at. */
function countLooks(authority: Certificate): { readonly authority: Certificate; readonly looks: () => number } {
  let looks = 0
  const counted = Object.defineProperty({ ...authority }, 'x509', {
    get: () => {
      looks += 1
      return authority.x509
    },
  })
  return { authority: counted, looks: () => looks }
}

interface Scene {
  readonly clock: ManualClock
  authorities: readonly Certificate[]
  /** What the server thinks of the certificate, in another request on the same connection. */
  ask(): Promise<string>
}

async function connect(client: Identity, authorities: readonly Certificate[]): Promise<Scene> {
  const root = await makeAuthority()
  const { cert, key } = await makeServerIdentity(root)
  const scene = { clock: new ManualClock(Date.now()), authorities, ask: () => Promise.resolve('') }
  const certificateOf = createCertificateOf({
    isFromProxy: () => false,
    authorities: () => scene.authorities,
    clock: scene.clock,
  })
  const server = createServer({ cert, key, requestCert: true, rejectUnauthorized: false }, async (incoming, reply) => {
    const certificate = await certificateOf(incoming)
    reply.end(certificate === undefined ? 'none' : certificate.isTrusted ? 'trusted' : 'untrusted')
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const agent = new Agent({ keepAlive: true, maxSockets: 1, cert: client.cert, key: client.key, ca: root.cert })
  onTestFinished(() => {
    agent.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  scene.ask = async () => {
    const [reply] = await once(get({ port, host: '127.0.0.1', servername: 'localhost', agent }), 'response')
    return text(reply)
  }
  return scene
}

describe('the certificate of a connection', () => {
  it('is judged once when nobody vouches for it: more requests cost no more signatures', async () => {
    const root = await makeAuthority()
    const impostor = await makeIdentity({ by: await makeAuthority() })
    const { authority, looks } = countLooks(read(root))
    const scene = await connect(impostor, [authority])
    expect(await scene.ask()).toBe('untrusted')
    const first = looks()
    expect(first).toBeGreaterThan(0)
    for (let again = 0; again < 5; again += 1) expect(await scene.ask()).toBe('untrusted')
    expect(looks()).toBe(first)
  })

  it('is judged anew when the authorities were changed', async () => {
    const other = await makeAuthority()
    const scene = await connect(await makeIdentity({ by: other }), [read(await makeAuthority())])
    expect(await scene.ask()).toBe('untrusted')
    scene.authorities = [read(other)]
    expect(await scene.ask()).toBe('trusted')
    scene.authorities = []
    expect(await scene.ask()).toBe('untrusted')
  })

  it('is judged anew when it begins, when its authority begins, and when it ends', async () => {
    const now = Date.now()
    const hour = 3_600_000
    const root = await makeAuthority({ notBefore: now + 2 * hour })
    const client = await makeIdentity({ by: root, notBefore: now + hour, notAfter: now + 3 * hour })
    const scene = await connect(client, [read(root)])
    const seen: string[] = []
    for (const passed of [0, 1, 2, 2.9, 4, 2.5, 0]) {
      scene.clock.step((now + passed * hour + 2_000 - scene.clock.nowMilliseconds()) / 1000)
      seen.push(await scene.ask())
    }
    const [bad, good] = ['untrusted', 'trusted']
    expect(seen).toEqual([bad, bad, good, good, bad, good, bad])
  })
})
