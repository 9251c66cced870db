import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { describe, expect, it, onTestFinished } from 'vitest'
import { cleanEnvironment, finish, freePort, root, temporaryFolder } from './support/process.ts'
import { copyTree } from './support/tree.ts'

/** The code of one language in the README, in the order in which it stands there. */
function blocks(language: string): readonly string[] {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const all = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
  return all.filter((match) => match[1] === language).map((match) => match[2] ?? '')
}

/** Runs the README's own code on a token, and returns the payload that it verified. */
async function verifyAsWritten(token: string, port: string, cwd: string, env: NodeJS.ProcessEnv): Promise<object> {
  const [code = ''] = blocks('ts')
  const program = `const token = process.env.TOKEN\n${code.replaceAll(':8080', `:${port}`)}\nconsole.log(JSON.stringify(payload))`
  writeFileSync(join(cwd, 'verify.mjs'), program)
  const { stdout } = await finish(spawn(process.execPath, ['verify.mjs'], { cwd, env: { ...env, TOKEN: token } }))
  return JSON.parse(stdout) as object
}

function childrenOf(pid: number): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
}

describe('the README', () => {
  it('leads from a fresh copy of the tree to a token that jose verifies', { timeout: 300_000 }, async () => {
    const [start = '', register = ''] = blocks('sh')
    expect(start.trim()).toBe('npm ci && npm start')
    const cwd = copyTree(temporaryFolder())
    const port = String(await freePort())
    const env = cleanEnvironment({ MAYFLY_PORT: port, npm_config_prefer_offline: 'true', npm_config_audit: 'false' })

    const server = spawn('bash', ['-c', start], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const group = -(server.pid ?? 0)
    const ended = finish(server)
    onTestFinished(() => {
      if (server.exitCode === null && server.signalCode === null) process.kill(group, 'SIGKILL')
    })
    await new Promise<void>((resolve, reject) => {
      server.stdout.on('data', (text: string) => {
        if (text.includes(`mayfly listening on http://127.0.0.1:${port}`)) resolve()
      })
      ended.then(({ stdout, stderr }) => reject(new Error(`it ended: ${stdout}${stderr}`)))
    })

    const registered = await finish(spawn('bash', ['-ec', register], { cwd, env }))
    expect(registered.stderr).not.toMatch(/error/i)
    expect(registered.code).toBe(0)
    const curl = registered.stdout.split('\n').find((line) => line.trim().startsWith('curl '))
    const reply = await finish(spawn('bash', ['-ec', curl ?? 'false'], { cwd, env }))
    const { access_token: token, expires_in: lifetime } = JSON.parse(reply.stdout) as {
      access_token: string
      expires_in: number
    }
    expect(lifetime).toBe(300)

    const issuer = `http://127.0.0.1:${port}`
    const { payload, protectedHeader } = await jwtVerify(
      token,
      createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`)),
      { issuer, audience: 'https://api.example.com', typ: 'at+jwt', algorithms: ['ES256', 'RS256'] },
    )
    expect(protectedHeader.alg).toBe('ES256')
    expect(payload).toMatchObject({ sub: 'billing', client_id: 'billing', scope: 'invoices:read' })
    expect(await verifyAsWritten(token, port, cwd, env)).toEqual(payload)
    const [printed = ''] = blocks('json')
    expect(Object.keys(payload)).toEqual(Object.keys(JSON.parse(printed)))

    // To npm alone, as a supervisor would: npm hands it on, and the shell reports npm's own end.
    for (const npm of childrenOf(server.pid ?? 0)) process.kill(npm, 'SIGTERM')
    expect(await ended).toMatchObject({ code: 0 })
  })
})
