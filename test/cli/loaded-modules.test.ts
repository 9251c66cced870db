import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { mayfly, temporaryFolder } from '../support/process.ts'

const hook = join(import.meta.dirname, 'programs/loaded-modules.mjs')

describe('what a command loads', () => {
  async function loadedBy(args: readonly string[], cwd: string): Promise<string> {
    const file = join(cwd, 'loaded')
    const env = { NODE_OPTIONS: `--import=${hook}`, LOADED_MODULES: file }
    expect(await mayfly(args, { cwd, env })).toMatchObject({ code: 0 })
    return readFileSync(file, 'utf8')
  }

  // Each of these would cost every command tens of milliseconds.
  it('is on SQLite nothing of PostgreSQL, of the server or of slow hashes', async () => {
    const cwd = temporaryFolder()
    expect(await mayfly(['db', 'migrate'], { cwd })).toMatchObject({ code: 0 })
    const loaded = await loadedBy(['client', 'list'], cwd)
    expect(loaded).toContain('src/store/sqlite/drizzle.ts')
    expect(loaded).not.toMatch(/src\/store\/postgres\/(?:drizzle|schema|postgres-store)\.ts/)
    expect(loaded).not.toMatch(/node_modules\/(?:pg|hono|@node-rs\/argon2|prom-client|pino)\//)
  })

  it('is no store at all when it only helps', async () => {
    const loaded = await loadedBy(['client', 'create', '--help'], temporaryFolder())
    expect(loaded).toContain('src/cli/cli.ts')
    expect(loaded).not.toMatch(/node_modules\/(?:drizzle-orm|better-sqlite3|pg|hono|@node-rs\/argon2)\//)
  })
})
