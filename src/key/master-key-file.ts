/**
 * The master key file: 32 random bytes in base64url on one line, mode 0600. It is made once, whole or not at all:
 * written beside its place, flushed, then linked into it. A link, unlike a rename, never replaces a file that another
 * process made in the meantime.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { makeFolder } from '../lib/make-folder.ts'
import type { MasterKey } from './root-key.ts'
import { KeyMaterialError } from './signing-key.ts'

const byteLength = 32

/**
 * Reads the master key. Symbolic links are followed and the group may read, for that is how secrets are mounted into
 * containers.
 *
 * @returns `undefined` when there is no file
 * @throws KeyMaterialError when the file is a folder, readable by others, unreadable, or does not hold a key
 */
export function readMasterKey(path: string): MasterKey | undefined {
  const status = look(path)
  if (status === undefined) return undefined
  if (!status.isFile())
    throw new KeyMaterialError(`the master key ${path} is not a file: give MAYFLY_MASTER_KEY_FILE the path of one`)
  if ((status.mode & 0o007) !== 0) {
    throw new KeyMaterialError(
      `the master key ${path} is open to every user of this machine: run \`chmod o= ${path}\`, and replace it if others may have read it`,
    )
  }
  return parseMasterKey(readText(path), path)
}

function look(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (cause) {
    throw new KeyMaterialError(
      `the master key ${path} cannot be reached: let the user of this process enter its folders, and look where its links lead`,
      { cause },
    )
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch (cause) {
    throw new KeyMaterialError(`the master key ${path} cannot be read: let the user of this process read it`, { cause })
  }
}

function parseMasterKey(text: string, path: string): MasterKey {
  const line = text.replace(/\r?\n$/, '')
  // 43 characters are 32 bytes and two bits over.
  if (!/^[A-Za-z0-9_+/-]{43}=?$/.test(line)) {
    throw new KeyMaterialError(
      `the master key ${path} does not hold ${byteLength} bytes in base64 on one line: restore it from your backup`,
    )
  }
  return Buffer.from(line, 'base64')
}

/**
 * Makes a master key file, with the folders it needs. When another process makes it at the same time, one of them
 * wins and both return the same key.
 *
 * @throws KeyMaterialError when it cannot be written
 */
export function createMasterKey(path: string): MasterKey {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    makeFolder(dirname(path))
    requireNothingAt(path)
    writeDurably(temporary, `${randomBytes(byteLength).toString('base64url')}\n`)
    linkUnlessPresent(temporary, path)
    syncFolder(dirname(path))
  } catch (cause) {
    if (cause instanceof KeyMaterialError) throw cause
    throw new KeyMaterialError(
      `the master key ${path} cannot be written: let the user of this process write to that folder`,
      { cause },
    )
  } finally {
    removeQuietly(temporary)
  }
  const key = readMasterKey(path)
  if (key === undefined) throw new KeyMaterialError(`the master key ${path} vanished while it was made`)
  return key
}

// What kept the file from being written may keep it from being looked for; the sentence about the former counts.
function removeQuietly(path: string): void {
  try {
    rmSync(path)
  } catch {
    // It was never there, or its folder is none.
  }
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'wx', 0o600)
  try {
    writeSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

function linkUnlessPresent(temporary: string, path: string): void {
  try {
    linkSync(temporary, path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
}

// A link that leads nowhere is a secret that is not mounted: a key must not be made behind it.
function requireNothingAt(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new KeyMaterialError(`the master key ${path} is a link that leads nowhere: mount what it points at`)
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
