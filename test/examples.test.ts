import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { cleanEnvironment, finish, root } from './support/process.ts'
import { addClient, addResource, startTestServer } from './support/server.ts'

const invoices = 'https://api.example.com'

function example(name: string, args: readonly string[], env: Record<string, string>): ChildProcess {
  const child = spawn(process.execPath, [join(root, 'examples', name), ...args], {
    env: cleanEnvironment(env),
    stdio: 'pipe',
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

async function startService(name: string, issuer: string): Promise<string> {
  const { stdout } = example(name, [], { ISSUER: issuer, PORT: '0' })
  if (stdout === null) throw new Error('no output')
  for await (const line of createInterface(stdout)) {
    const { port } = JSON.parse(line.replace('listening on ', '')) as { port: number }
    return `http://127.0.0.1:${port}/`
  }
  throw new Error(`${name} did not start`)
}

describe.each(['service-node.ts', 'service-hono.ts'])('the example %s', (name) => {
  it('lets in a workload with the scope, and nobody else', async () => {
    const server = await startTestServer()
    await addResource(server.store, invoices, ['invoices:read', 'other'])
    const reader = await addClient(server.store, 'reader', { audiences: [invoices], scopes: ['invoices:read'] })
    const other = await addClient(server.store, 'other', { audiences: [invoices], scopes: ['other'] })
    const url = await startService(name, server.issuer)
    const run = (client: typeof reader) =>
      finish(
        example('workload.ts', [url], {
          ISSUER: server.issuer,
          CLIENT_ID: client.clientId,
          CLIENT_SECRET: client.secret,
        }),
      )
    expect((await run(reader)).stdout).toBe('200 {"invoices":[]}\n')
    expect((await run(other)).stdout).toMatch(/^403/)
    expect((await run({ ...reader, secret: 'wrong' })).stderr).toContain('no token: 401 invalid_client')
    expect((await fetch(url)).status).toBe(401)
    expect((await fetch(url, { headers: { authorization: 'Bearer a.b.c' } })).status).toBe(401)
  })
})
