/** The health check of the container in examples/. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { makeAuthority, makeServerIdentity, writeTlsFiles } from './support/certificates.ts'
import { cleanEnvironment, type Finished, finish, freePort, root, serve, temporaryFolder } from './support/process.ts'

function check(env: Readonly<Record<string, string>>): Promise<Finished> {
  const script = join(root, 'examples/container/health.js')
  return finish(spawn(process.execPath, [script], { env: cleanEnvironment(env) }))
}

it('ends with 0 for a server that is ready, whatever the path of its issuer, and over native TLS', async () => {
  const port = await freePort()
  const plain = { MAYFLY_PORT: String(port), MAYFLY_ISSUER: 'https://tokens.example.com/a/b' }
  const server = await serve({ cwd: temporaryFolder(), env: plain })
  expect(await check(plain)).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  await server.end('SIGTERM')
  expect((await check(plain)).code).toBe(1)
  const folder = temporaryFolder()
  const files = writeTlsFiles(folder, await makeServerIdentity(await makeAuthority()))
  const tls = { ...files, MAYFLY_PORT: String(port), MAYFLY_ISSUER: 'https://tokens.example.com' }
  await serve({ cwd: folder, env: tls })
  expect(await check(tls)).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
})

it('ends with 1 where nothing listens, where the answer is 503, and where none comes', async () => {
  expect((await check({ MAYFLY_PORT: String(await freePort()) })).code).toBe(1)
  const server = createServer((_, reply) => void (status === 0 || reply.writeHead(status).end()))
  let status = 503
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => server.closeAllConnections())
  onTestFinished(() => void server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const env = { MAYFLY_PORT: String(address.port) }
  expect((await check(env)).code).toBe(1)
  status = 200
  expect((await check(env)).code).toBe(0)
  status = 0
  expect((await check(env)).code).toBe(1)
})
