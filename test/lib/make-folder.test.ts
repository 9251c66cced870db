import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { makeFolder } from '../../src/lib/make-folder.ts'
import { mayfly, temporaryFolder } from '../support/process.ts'

describe('makeFolder', () => {
  it('makes a folder and those above it, for their owner alone, and leaves what is there', () => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'a'), { mode: 0o755 })
    makeFolder(join(folder, 'a/b/c'))
    makeFolder(join(folder, 'a/b/c'))
    const modes = ['a', 'a/b', 'a/b/c'].map((path) => statSync(join(folder, path)).mode & 0o777)
    expect(modes).toEqual([0o755, 0o700, 0o700])
  })

  it('refuses a path with a file in it, and a link that leads nowhere', () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'file'), '')
    symlinkSync(join(folder, 'nowhere'), join(folder, 'link'))
    expect(() => makeFolder(join(folder, 'file'))).toThrow('EEXIST')
    expect(() => makeFolder(join(folder, 'file/a/b'))).toThrow(/EEXIST|ENOTDIR/)
    expect(() => makeFolder(join(folder, 'link'))).toThrow('EEXIST')
  })

  it('returns where the file system denies a parent that exists', async () => {
    expect(() => makeFolder('/proc/mayfly/data')).toThrow(/ENOENT|EACCES|EPERM/)
    const env = { MAYFLY_DATABASE_URL: 'file:/proc/mayfly/data/mayfly.db' }
    const ended = await mayfly(['db', 'migrate'], { cwd: temporaryFolder(), env })
    expect([ended.code, ended.signal]).toEqual([1, null])
    expect(ended.stderr).toMatch(/^error: .*\/proc\/mayfly\/data\/mayfly\.db.* cannot be written.*\n$/)
  })
})
