import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { cleanEnvironment, finish, launcher, root, serve, temporaryFolder } from '../support/process.ts'

describe('mayfly serve --dev', () => {
  it('prints a curl line that works, leaves nothing in the folder, and throws its own away', async () => {
    const cwd = temporaryFolder()
    const temp = temporaryFolder()
    const server = await serve({ cwd, command: [process.execPath, launcher, 'serve', '--dev'], env: { TMPDIR: temp } })
    while (!server.output().includes('/token')) await new Promise((resolve) => setImmediate(resolve))
    expect(server.output()).toContain('For development')
    const curl = server
      .output()
      .split('\n')
      .find((line) => line.trim().startsWith('curl '))
    const reply = JSON.parse(execFileSync('sh', ['-c', curl ?? 'false'], { encoding: 'utf8' })) as { scope?: string }
    expect(reply.scope).toBe('demo:read demo:write')
    expect(readdirSync(cwd)).toEqual([])
    expect(readdirSync(temp)).toHaveLength(1)
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(readdirSync(temp)).toEqual([])
    expect(existsSync(cwd)).toBe(true)
  })
})

describe('npm run demo', () => {
  it('tells its story to the end', { timeout: 60_000 }, async () => {
    const demo = await finish(
      spawn(process.execPath, ['scripts/demo.ts'], { cwd: root, env: cleanEnvironment(), stdio: 'pipe' }),
    )
    expect(demo.code, demo.stderr).toBe(0)
    expect(demo.stdout).toContain('HTTP 200')
    expect(demo.stdout).toContain('HTTP 401 invalid_client')
    expect(demo.stdout).toContain('ended with 0')
  })
})
