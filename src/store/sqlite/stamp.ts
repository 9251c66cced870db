/**
 * How far the main file of a database alone has come, without its -wal: a number in its first page, which every change
 * raises in its own transaction and which can be read without SQLite (`user_version`, https://sqlite.org/fileformat.html
 * section 1.3).
 *
 * SQLite cannot tell whose a -wal is. An old copy of the main file that is put beside the -wal of a later one opens without
 * a complaint: the counters of the store, which lie in a page of the -wal, are the latest, and a client whose end had gone
 * into the main file before that -wal was begun is there again. But a -wal is begun only when all of before is in the main
 * file, so a change whose page is in it was witnessed together with a stamp at least as high as all that can be missing.
 */
import { closeSync, fsyncSync, openSync, readSync, statSync } from 'node:fs'
import type Database from 'better-sqlite3'

/** Where the stamp lies in the file: four bytes, the highest first. */
export const stampOffset = 60
const largestStamp = 0x7fffffff

/** Stamps the file with the counters of the store. Only inside a transaction. */
export function stampFile(sqlite: Database.Database): void {
  const sum = sqlite.prepare(`SELECT sum(value) FROM sequence WHERE name IN ('registry', 'mark')`).pluck().get()
  const stamp = Math.min(Number(sum), largestStamp)
  if (sqlite.pragma('user_version', { simple: true }) !== stamp) sqlite.pragma(`user_version = ${stamp}`)
}

function stampIn(file: number): number {
  const bytes = Buffer.alloc(4)
  return readSync(file, bytes, 0, 4, stampOffset) === 4 ? bytes.readUInt32BE() : 0
}

/** Whether changes may lie beside the file. */
export function hasWal(path: string): boolean {
  return (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
}

/**
 * Reads the stamp of a file, also while SQLite has it open. It is opened once and closed last: closing any descriptor of a
 * file lets go of all locks that the process has on it (fcntl(2)), SQLite's as well.
 */
export class StampReader {
  readonly #file: number
  #flushed = 0

  /** @throws Error of the file system */
  constructor(path: string) {
    this.#file = openSync(path, 'r')
  }

  read(): number {
    return stampIn(this.#file)
  }

  /** What is on disk: another process may have just written it. */
  readDurable(): number {
    const stamp = this.read()
    if (stamp > this.#flushed) fsyncSync(this.#file)
    this.#flushed = stamp
    return stamp
  }

  /** Only when SQLite has closed the file. */
  close(): void {
    closeSync(this.#file)
  }
}
