import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createMasterKey, readMasterKey } from '../../src/key/master-key-file.ts'
import { KeyMaterialError } from '../../src/key/signing-key.ts'
import { temporaryFolder } from '../support/process.ts'

const bytes = Buffer.alloc(32, 0xfb)

/** A master key file with this text and mode. */
function fileWith(text: string | Buffer, mode = 0o600): string {
  const path = join(temporaryFolder(), 'master.key')
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

/** The sentence that refuses it, which always names the file. */
function refusalOf(act: () => unknown, path: string): string {
  try {
    act()
  } catch (error) {
    if (!(error instanceof KeyMaterialError)) throw error
    expect(error.message).toContain(`the master key ${path} `)
    return error.message
  }
  return expect.fail('it was accepted')
}

describe('a master key file', () => {
  it.each([
    ['base64url and a line break', `${bytes.toString('base64url')}\n`],
    ['base64url alone', bytes.toString('base64url')],
    ['base64, padded', `${bytes.toString('base64')}\n`],
    ['base64, unpadded', bytes.toString('base64').replace('=', '')],
    ['a line break of Windows', `${bytes.toString('base64')}\r\n`],
  ])('is read with %s', (_, text) => {
    expect(readMasterKey(fileWith(text))).toEqual(bytes)
  })

  it.each([0o600, 0o400, 0o640, 0o660, 0o440])('is read with mode %o: its group may have it', (mode) => {
    expect(readMasterKey(fileWith(bytes.toString('base64'), mode))).toEqual(bytes)
  })

  it('is read through links, as secrets are mounted', () => {
    const path = join(temporaryFolder(), 'link')
    symlinkSync(fileWith(bytes.toString('base64')), path)
    expect(readMasterKey(path)).toEqual(bytes)
  })

  it('is absent where nothing is, also without its folder', () => {
    const folder = temporaryFolder()
    expect(readMasterKey(join(folder, 'master.key'))).toBeUndefined()
    expect(readMasterKey(join(folder, 'keys', 'master.key'))).toBeUndefined()
  })

  it.each([0o601, 0o602, 0o604, 0o644, 0o666, 0o777])('is refused with mode %o, open to everybody', (mode) => {
    const path = fileWith(bytes.toString('base64'), mode)
    expect(refusalOf(() => readMasterKey(path), path)).toMatch(/open to every user .*`chmod o= .*replace it if others/)
  })

  it.each([
    ['nothing', ''],
    ['a line break alone', '\n'],
    ['31 bytes', Buffer.alloc(31).toString('base64')],
    ['33 bytes', Buffer.alloc(33).toString('base64')],
    ['bytes that are not base64', bytes],
    ['a line before', `#\n${bytes.toString('base64')}\n`],
    ['a second line', `${bytes.toString('base64')}\n\n`],
    ['a line break in the middle', bytes.toString('base64').replace(/^.{20}/, '$&\n')],
    ['a space before', ` ${bytes.toString('base64')}`],
    ['a space behind', `${bytes.toString('base64')} `],
    ['a character that is none of base64', bytes.toString('base64').replace('7', '*')],
    ['padding twice', `${bytes.toString('base64')}=`],
  ])('is refused with %s', (_, text) => {
    const path = fileWith(text)
    const sentence = refusalOf(() => readMasterKey(path), path)
    expect(sentence).toMatch(/does not hold 32 bytes in base64 on one line: restore it from your backup$/)
    // What it does hold may be most of a key.
    if (text.length > 8) expect(sentence).not.toContain(text.toString().trim())
  })

  it('is refused when it is a folder', () => {
    const path = join(temporaryFolder(), 'master.key')
    mkdirSync(path)
    expect(refusalOf(() => readMasterKey(path), path)).toMatch(/is not a file: give MAYFLY_MASTER_KEY_FILE the path/)
  })

  it('is refused, not absent, when it cannot be reached', () => {
    const path = join(temporaryFolder(), 'master.key')
    symlinkSync(path, path)
    expect(refusalOf(() => readMasterKey(path), path)).toMatch(/cannot be reached: .*look where its links lead$/)
    expect(() => readMasterKey(path)).toThrow(
      expect.objectContaining({ cause: expect.objectContaining({ code: 'ELOOP' }) }),
    )
  })
})

describe.skipIf(process.platform !== 'linux')('a master key file that cannot be read', () => {
  it('is refused with what went wrong as the cause', () => {
    // A regular file of its owner alone, of which nobody can read the first page.
    const path = '/proc/self/mem'
    expect(refusalOf(() => readMasterKey(path), path)).toMatch(/cannot be read: let the user of this process read it$/)
    expect(() => readMasterKey(path)).toThrow(
      expect.objectContaining({ cause: expect.objectContaining({ code: expect.stringMatching(/^E[A-Z]+$/) }) }),
    )
  })
})

describe('the making of a master key', () => {
  it('writes one line for its owner alone, in folders for their owner alone, and leaves nothing beside it', () => {
    const folder = temporaryFolder()
    const path = join(folder, 'a', 'keys', 'master.key')
    const key = createMasterKey(path)
    expect(readFileSync(path, 'latin1')).toBe(`${Buffer.from(key).toString('base64url')}\n`)
    expect(key).toHaveLength(32)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    for (const made of [join(folder, 'a'), join(folder, 'a', 'keys')]) expect(statSync(made).mode & 0o777).toBe(0o700)
    expect(readdirSync(join(folder, 'a', 'keys'))).toEqual(['master.key'])
  })

  it('makes another one each time', () => {
    const folder = temporaryFolder()
    const made = Array.from({ length: 20 }, (_, i) => Buffer.from(createMasterKey(join(folder, `${i}.key`))))
    expect(new Set(made.map((key) => key.toString('hex'))).size).toBe(20)
  })

  it.skipIf(process.platform !== 'linux')('leaves no file open', () => {
    const countOpen = () => readdirSync('/proc/self/fd').length
    const path = join(temporaryFolder(), 'master.key')
    createMasterKey(path)
    const before = countOpen()
    for (let i = 0; i < 20; i += 1) createMasterKey(`${path}.${i}`)
    expect(countOpen()).toBe(before)
  })

  it('uses the one that another process made in the meantime, and replaces nothing', () => {
    const path = fileWith(bytes.toString('base64'))
    expect(createMasterKey(path)).toEqual(bytes)
    expect(readFileSync(path, 'latin1')).toBe(bytes.toString('base64'))
    expect(readdirSync(join(path, '..'))).toEqual(['master.key'])
  })

  it('refuses to make one behind a link that leads nowhere: that is a secret that is not mounted', () => {
    const folder = temporaryFolder()
    const path = join(folder, 'master.key')
    symlinkSync(join(folder, 'mounted'), path)
    expect(refusalOf(() => createMasterKey(path), path)).toMatch(
      /is a link that leads nowhere: mount what it points at$/,
    )
    expect(existsSync(join(folder, 'mounted'))).toBe(false)
    expect(lstatSync(path).isSymbolicLink()).toBe(true)
    expect(readdirSync(folder)).toEqual(['master.key'])
  })

  it('refuses one that others can read, though it did not make it', () => {
    const path = fileWith(bytes.toString('base64'), 0o644)
    expect(refusalOf(() => createMasterKey(path), path)).toMatch(/open to every user/)
  })

  it('is refused where it cannot be written, with what went wrong as the cause', () => {
    const folder = temporaryFolder()
    symlinkSync(join(folder, 'nowhere'), join(folder, 'keys'))
    const path = join(folder, 'keys', 'master.key')
    expect(refusalOf(() => createMasterKey(path), path)).toMatch(
      /cannot be written: let the user of this process write to that folder$/,
    )
    expect(() => createMasterKey(path)).toThrow(
      expect.objectContaining({ cause: expect.objectContaining({ code: expect.stringMatching(/^E[A-Z]+$/) }) }),
    )
    expect(readdirSync(folder)).toEqual(['keys'])
  })
})

describe('a master key that cannot be written', () => {
  it.each([
    ['its folder is a file', 'note/master.key'],
    ['its name is too long', `${'k'.repeat(250)}.key`],
  ])('is refused with a sentence when %s', (_, name) => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'note'), '')
    expect(() => createMasterKey(join(folder, name))).toThrow(KeyMaterialError)
    expect(() => createMasterKey(join(folder, name))).toThrow(/cannot be written/)
  })
})
