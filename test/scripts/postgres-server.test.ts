import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { allGone } from '../support/workers.ts'

const file = join(import.meta.dirname, '../../scripts/postgres-server.ts')

/** Runs a program that has started a server. */
function run(rest: string): Promise<{ readonly code: unknown; readonly stdout: string }> {
  const program = `
    import { PostgresServer } from ${JSON.stringify(file)}
    const server = await PostgresServer.make()
    ${rest}`
  return new Promise((resolve) => {
    const args = ['--disable-warning=ExperimentalWarning', '--input-type=module-typescript', '-e', program]
    execFile(process.execPath, args, (error, stdout) => resolve({ code: error === null ? 0 : error.code, stdout }))
  })
}

describe('a program that starts a PostgreSQL', () => {
  it.each([0, 1, 2])('ends with the exit code that it has set: %d', async (code) => {
    expect(await run(`await server.destroy(); process.exitCode = ${code}`)).toMatchObject({ code })
  })

  it('leaves none behind when it ends at once', async () => {
    const { code, stdout } = await run('console.log(server.pid); process.exit(3)')
    expect(code).toBe(3)
    const pid = Number(stdout)
    expect(pid).toBeGreaterThan(1)
    await allGone([pid])
  })
})
