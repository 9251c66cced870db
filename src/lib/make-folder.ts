import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a folder, and those above it that are missing, for their owner alone. Node's own `recursive` never returns where
 * a file system says of a child that it cannot be made because its parent is missing, though it is there: `/proc` does.
 *
 * @throws Error with `code` EACCES, EEXIST (something else is there), ENOENT, ENOTDIR, EROFS, …
 */
export function makeFolder(path: string): void {
  if (isFolder(path)) return
  if (dirname(path) !== path) makeFolder(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Another process that starts at the same time may have made it.
    if (!isFolder(path)) throw error
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
