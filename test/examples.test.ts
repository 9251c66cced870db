import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeTestKey, type TestKey } from './support/assertion.ts'
import { cleanEnvironment, type Finished, finish, root, temporaryFolder } from './support/process.ts'
import { makeProof, makeProofKey } from './support/proof.ts'
import {
  addClient,
  addKeyClient,
  addResource,
  getToken,
  requestToken,
  startTestServer,
  type TestClient,
  type TestServer,
} from './support/server.ts'

const invoices = 'https://api.example.com'

/** An example, how it is run, and what shows that this machine can run it. */
interface Example {
  readonly file: string
  readonly command: readonly string[]
  readonly probe?: readonly string[]
}

const services: readonly Example[] = [
  { file: 'service-node.ts', command: [process.execPath] },
  { file: 'service-hono.ts', command: [process.execPath] },
  { file: 'service-jsonwebtoken.ts', command: [process.execPath] },
  { file: 'service.py', command: ['python3'], probe: ['python3', '-c', 'import jwt, cryptography'] },
]

const workloads: readonly Example[] = [
  { file: 'workload.ts', command: [process.execPath] },
  { file: 'workload.py', command: ['python3'], probe: ['python3', '-c', 'import urllib.request'] },
  { file: 'workload.go', command: ['go', 'run'], probe: ['go', 'version'] },
]

const keyWorkloads: readonly Example[] = [
  { file: 'workload-key.ts', command: [process.execPath] },
  { file: 'workload-key.py', command: ['python3'], probe: ['python3', '-c', 'import jwt, cryptography'] },
  { file: 'workload-key.go', command: ['go', 'run'], probe: ['go', 'version'] },
]

const keyScript: Example = {
  file: 'token-key.sh',
  command: ['sh'],
  probe: ['sh', '-c', 'command -v curl && command -v sed && command -v openssl'],
}
/** A workload with bound tokens, and a service for those alone. */
const boundWorkload: Example = { file: 'workload-dpop.ts', command: [process.execPath] }
const boundService: Example = { file: 'service-dpop.ts', command: [process.execPath] }

const tokenScript: Example = {
  file: 'token.sh',
  command: ['sh'],
  probe: ['sh', '-c', 'command -v curl && command -v sed'],
}

/** What other programs read, and what they run: tried in test/faults and test/containers, and in alarms.test.ts and health-check.test.ts. */
const configurations = [
  'nginx.conf',
  'nginx-mtls.conf',
  'Caddyfile',
  'traefik.yml',
  'systemd/mayfly.service',
  'systemd/mayfly.env',
  'container/Containerfile',
  'container/health.js',
  'prometheus/mayfly.rules.yaml',
]

// `npm test` asks for nothing but npm, so what else an example needs may not be here; then this says which it leaves out.
const isHere = ({ file, probe }: Example): boolean => {
  const here = probe === undefined || spawnSync(probe[0] ?? '', probe.slice(1)).status === 0
  if (!here) process.stderr.write(`examples/${file} is not run: this machine does not pass \`${probe.join(' ')}\`\n`)
  return here
}
const [hereServices, hereWorkloads, hereScripts, hereKeyWorkloads, hereKeyScripts] = [
  services,
  workloads,
  [tokenScript],
  keyWorkloads,
  [keyScript],
].map((all) => all.filter(isHere))

function start({ file, command }: Example, args: readonly string[], env: Record<string, string>): ChildProcess {
  const [program = '', ...before] = command
  // `go` keeps what it compiles in a cache below the home, which a test must not rely on.
  const cache = program === 'go' ? { GOCACHE: join(temporaryFolder(), 'go'), GOFLAGS: '' } : {}
  const child = spawn(program, [...before, join(root, 'examples', file), ...args], {
    env: cleanEnvironment({ ...cache, ...env }),
    stdio: 'pipe',
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

async function startService(service: Example, issuer: string): Promise<string> {
  const { stdout } = start(service, [], { ISSUER: issuer, PORT: '0' })
  if (stdout === null) throw new Error('no output')
  for await (const line of createInterface(stdout)) {
    const { port } = JSON.parse(line.replace('listening on ', '')) as { port: number }
    return `http://127.0.0.1:${port}/`
  }
  throw new Error(`${service.file} did not start`)
}

interface Scene {
  readonly server: TestServer
  readonly reader: TestClient
  readonly other: TestClient
}

async function startScene(env: Readonly<Record<string, string>> = {}): Promise<Scene> {
  const server = await startTestServer({ env })
  await addResource(server.store, invoices, ['invoices:read', 'other'])
  const reader = await addClient(server.store, 'reader', { audiences: [invoices], scopes: ['invoices:read'] })
  const other = await addClient(server.store, 'other', { audiences: [invoices], scopes: ['other'] })
  return { server, reader, other }
}

function run(example: Example, { server }: Scene, client: TestClient, ...args: string[]): Promise<Finished> {
  const env = { ISSUER: server.issuer, CLIENT_ID: client.clientId, CLIENT_SECRET: client.secret }
  return finish(start(example, args, env))
}

/** A key in a file, and the client `signer` that is registered for it. */
async function addSigner({ server }: Scene, alg: 'ES256' | 'RS256'): Promise<{ file: string; stranger: string }> {
  const key = makeTestKey(alg, 'one')
  const settings = { audiences: [invoices], scopes: ['invoices:read'] }
  await addKeyClient(server.store, 'signer', [key, makeTestKey(alg, 'two')], settings)
  const folder = temporaryFolder()
  const write = ({ privateKey }: TestKey, name: string): string => {
    writeFileSync(join(folder, name), privateKey.export({ type: 'pkcs8', format: 'pem' }))
    return join(folder, name)
  }
  return { file: write(key, 'key.pem'), stranger: write(makeTestKey(alg), 'stranger.pem') }
}

function runWithKey(example: Example, { server }: Scene, file: string, ...args: string[]): Promise<Finished> {
  const env = { ISSUER: server.issuer, CLIENT_ID: 'signer', KEY_FILE: file, KEY_ID: 'one' }
  return finish(start(example, args, env))
}

async function issued({ server }: Scene): Promise<number> {
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  return Number(/^mayfly_tokens_issued_total\{[^}]*\} (\d+)$/m.exec(metrics)?.[1] ?? 0)
}

const [nodeService] = services as [Example]

describe('the examples', () => {
  it('run with Node alone, but for those that are in another language', () => {
    const here = [...(hereServices ?? []), ...(hereWorkloads ?? []), ...(hereKeyWorkloads ?? [])]
    const withNode = ['service-node.ts', 'service-hono.ts', 'service-jsonwebtoken.ts', 'workload.ts', 'workload-key.ts']
    expect(here.map(({ file }) => file)).toEqual(expect.arrayContaining(withNode))
  })

  it('are all told of in their README, and all of them are run or configure another program', () => {
    const readme = readFileSync(join(root, 'examples/README.md'), 'utf8')
    const files = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' }).filter(
      (file) => file !== 'README.md' && statSync(join(root, 'examples', file)).isFile(),
    )
    const known = [...services, ...workloads, ...keyWorkloads, boundWorkload, boundService, tokenScript, keyScript].map(
      ({ file }) => file,
    )
    expect(files.toSorted()).toEqual([...known, ...configurations].toSorted())
    for (const file of files) expect(readme).toContain(`[${file}](${file})`)
  })
})

describe.each(hereServices ?? [])('the example $file', (service) => {
  it('lets in a token with the scope, and turns away every other', async () => {
    const { server, reader, other } = await startScene()
    await addResource(server.store, 'https://other.example.com', ['invoices:read'])
    const settings = { audiences: ['https://other.example.com'], scopes: ['invoices:read'] }
    const stranger = await addClient(server.store, 'stranger', settings)
    const url = await startService(service, server.issuer)
    const ask = async (authorization?: string) => fetch(url, { headers: authorization ? { authorization } : {} })
    const good = await getToken(server, reader)
    const reply = await ask(`Bearer ${good}`)
    expect([reply.status, await reply.text()]).toEqual([200, '{"invoices":[]}'])
    expect((await ask(`Bearer ${await getToken(server, other)}`)).status).toBe(403)
    const tampered = `${good.slice(0, -8)}AAAAAAAA`
    for (const token of [await getToken(server, stranger), tampered, 'a.b.c', ''])
      expect((await ask(`Bearer ${token}`)).status, token).toBe(401)
    expect((await ask(reader.basic)).status).toBe(401)
    expect((await ask()).status).toBe(401)
  }, 180_000)
})

describe.each(hereServices ?? [])('the example $file', (service) => {
  it('C14 turns away a token that is bound to a key, for it looks at no proof', async () => {
    const { server, reader } = await startScene()
    const url = await startService(service, server.issuer)
    const proof = makeProof(makeProofKey(), `${server.issuer}/token`, Date.now())
    const form = { grant_type: 'client_credentials' }
    const { json } = await requestToken(server, form, { authorization: reader.basic, dpop: proof })
    expect(json.token_type).toBe('DPoP')
    const token = String(json.access_token)
    for (const authorization of [`Bearer ${token}`, `DPoP ${token}`])
      expect((await fetch(url, { headers: { authorization, dpop: proof } })).status).toBe(401)
  }, 180_000)
})

describe.each(hereWorkloads ?? [])('the example $file', (workload) => {
  it('asks for one token and keeps it', async () => {
    const scene = await startScene()
    const url = await startService(nodeService, scene.server.issuer)
    const { stdout, stderr, code } = await run(workload, scene, scene.reader, url, url, url)
    expect({ stdout, stderr, code }).toEqual({ stdout: '200 {"invoices":[]}\n'.repeat(3), stderr: '', code: 0 })
    expect(await issued(scene)).toBe(1)
    expect((await run(workload, scene, scene.other, url)).stdout).toMatch(/^403/)
  }, 180_000)

  it('says with which status and code it was refused, and nothing of its secret', async () => {
    const scene = await startScene()
    const { stdout, stderr, code } = await run(workload, scene, { ...scene.reader, secret: 'wrong+secret' })
    expect(stderr).toContain('no token: 401 invalid_client')
    expect(stderr).not.toContain('wrong')
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 })
  }, 180_000)
})

describe.each(['optional', 'required'])('the examples for DPoP, with nonces %s', (nonces) => {
  it('ask for one bound token, keep it, and prove the key of it at each request', async () => {
    const scene = await startScene({ MAYFLY_DPOP_NONCE: nonces })
    const url = await startService(boundService, scene.server.issuer)
    const { stdout, stderr, code } = await run(boundWorkload, scene, scene.reader, url, `${url}invoices?page=2`, url)
    expect({ stdout, stderr, code }).toEqual({ stdout: '200 {"invoices":[]}\n'.repeat(3), stderr: '', code: 0 })
    expect(await issued(scene)).toBe(1)
    expect((await run(boundWorkload, scene, scene.other, url)).stdout).toMatch(/^403/)
  }, 180_000)

  it('turn a bearer away, and a token that is bound to nothing', async () => {
    const scene = await startScene({ MAYFLY_DPOP_NONCE: nonces })
    const url = await startService(boundService, scene.server.issuer)
    const token = await getToken(scene.server, scene.reader)
    for (const scheme of ['Bearer', 'DPoP'])
      expect((await fetch(url, { headers: { authorization: `${scheme} ${token}` } })).status).toBe(401)
    expect((await fetch(url)).status).toBe(401)
  }, 180_000)

  it('say with which status and code they were refused, and nothing of the secret', async () => {
    const scene = await startScene({ MAYFLY_DPOP_NONCE: nonces })
    const { stderr, code } = await run(boundWorkload, scene, { ...scene.reader, secret: 'wrong+secret' })
    expect(stderr).toContain('no token: 401 invalid_client')
    expect(stderr).not.toContain('wrong')
    expect(code).toBe(1)
  }, 180_000)
})

describe.each(hereScripts ?? [])('the example $file', (script) => {
  it('prints a token that a service takes', async () => {
    const scene = await startScene()
    const url = await startService(nodeService, scene.server.issuer)
    const { stdout } = await run(script, scene, scene.reader)
    const reply = await fetch(url, { headers: { authorization: `Bearer ${stdout.trim()}` } })
    expect(reply.status).toBe(200)
  }, 180_000)

  it('says with which status and code it was refused', async () => {
    const scene = await startScene()
    const { stdout, stderr, code } = await run(script, scene, { ...scene.reader, secret: 'wrong' })
    expect(stderr).toMatch(/^no token: 401 .*"error":"invalid_client"/)
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 })
  }, 180_000)
})

describe.each(hereKeyWorkloads ?? [])('the example $file', (workload) => {
  it('asks for one token with its key, and keeps it', async () => {
    const scene = await startScene()
    const { file } = await addSigner(scene, 'ES256')
    const url = await startService(nodeService, scene.server.issuer)
    const { stdout, stderr, code } = await runWithKey(workload, scene, file, url, url, url)
    expect({ stdout, stderr, code }).toEqual({ stdout: '200 {"invoices":[]}\n'.repeat(3), stderr: '', code: 0 })
    expect(await issued(scene)).toBe(1)
  }, 180_000)

  it('says with which status and code it was refused, with a key that is not registered', async () => {
    const scene = await startScene()
    const { stranger } = await addSigner(scene, 'ES256')
    const { stdout, stderr, code } = await runWithKey(workload, scene, stranger)
    expect(stderr).toContain('no token: 400 invalid_client')
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 })
  }, 180_000)
})

describe.each(hereKeyScripts ?? [])('the example $file', (script) => {
  it('prints a token that a service takes', async () => {
    const scene = await startScene()
    const { file } = await addSigner(scene, 'RS256')
    const url = await startService(nodeService, scene.server.issuer)
    const { stdout } = await runWithKey(script, scene, file)
    const reply = await fetch(url, { headers: { authorization: `Bearer ${stdout.trim()}` } })
    expect(reply.status).toBe(200)
  }, 180_000)

  it('says with which status and code it was refused, with a key that is not registered', async () => {
    const scene = await startScene()
    const { stranger } = await addSigner(scene, 'RS256')
    const { stdout, stderr, code } = await runWithKey(script, scene, stranger)
    expect(stderr).toMatch(/^no token: 400 .*"error":"invalid_client"/)
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 })
  }, 180_000)
})
