/** Power losses: see power-loss.c for what is kept, and here for what is put back. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../support/seed.ts'
import { run } from '../support/tools.ts'

const sectorBytes = 512

/** How much of what was never flushed reached the disk by chance: nothing, this and that, or everything. */
export type Luck = 'none' | 'some' | 'all'

/** Compiles the shim. @returns the path of the library */
export function compileShim(folder: string): string {
  const library = join(folder, 'power-loss.so')
  const source = join(import.meta.dirname, 'power-loss.c')
  run('gcc', '-shared', '-fPIC', '-O2', '-Wall', '-Wextra', '-Werror', '-o', library, source)
  return library
}

/** A folder whose power can fail. Its processes must have been ended by SIGKILL before it is put back. */
export class PoweredFolder {
  readonly root: string
  readonly #shadow: string
  readonly #library: string

  /** @param disk where a tmpfs is mounted; the folder and its shadow are made there */
  constructor(disk: string, library: string) {
    this.root = join(disk, 'powered')
    this.#shadow = join(disk, 'shadow')
    this.#library = library
    mkdirSync(this.root, { mode: 0o700 })
    this.settle()
  }

  /** The environment of a process that works in the folder. */
  get env(): Readonly<Record<string, string>> {
    return { LD_PRELOAD: this.#library, POWER_ROOT: this.root, POWER_SHADOW: this.#shadow }
  }

  /** Makes everything that is there now durable. */
  settle(): void {
    rmSync(this.#shadow, { recursive: true, force: true })
    mkdirSync(this.#shadow)
    this.#settleFolder(this.root)
  }

  /** Leaves in the folder what the disk would have held. */
  lose(luck: Luck, random: Random): void {
    const kept = this.#collect(this.root, luck, random)
    rmSync(this.root, { recursive: true })
    writeTree(this.root, kept)
    this.settle()
  }

  #settleFolder(folder: string): void {
    const lines = readdirSync(folder, { withFileTypes: true }).map((entry) => {
      const path = join(folder, entry.name)
      const { ino } = statSync(path)
      if (entry.isDirectory()) this.#settleFolder(path)
      else copyFileSync(path, this.#bytesOf(ino))
      return `${ino} ${entry.name}\n`
    })
    writeFileSync(this.#namesOf(statSync(folder).ino), lines.join(''))
  }

  #collect(folder: string, luck: Luck, random: Random): Tree {
    const flushed = this.#readNames(statSync(folder).ino)
    const present = new Map(readdirSync(folder).map((name) => [name, statSync(join(folder, name)).ino]))
    const tree: Tree = new Map()
    for (const name of new Set([...flushed.keys(), ...present.keys()])) {
      const inode = choose(luck, random) ? present.get(name) : flushed.get(name)
      if (inode === undefined) continue
      const path = join(folder, name)
      const isThere = present.get(name) === inode
      if (isThere && statSync(path).isDirectory()) tree.set(name, this.#collect(path, luck, random))
      else tree.set(name, mix(this.#readBytes(inode), isThere ? readFileSync(path) : undefined, luck, random))
    }
    return tree
  }

  #readNames(inode: number): Map<string, number> {
    const file = this.#namesOf(inode)
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []
    return new Map(lines.map((line) => [line.slice(line.indexOf(' ') + 1), Number.parseInt(line, 10)]))
  }

  // A file that was never flushed has a name and nothing in it.
  #readBytes(inode: number): Buffer {
    const file = this.#bytesOf(inode)
    return existsSync(file) ? readFileSync(file) : Buffer.alloc(0)
  }

  #bytesOf(inode: number): string {
    return join(this.#shadow, `bytes-${inode}`)
  }

  #namesOf(inode: number): string {
    return join(this.#shadow, `names-${inode}`)
  }
}

type Tree = Map<string, Buffer | Tree>

function writeTree(folder: string, tree: Tree): void {
  mkdirSync(folder, { mode: 0o700 })
  for (const [name, content] of tree) {
    if (content instanceof Map) writeTree(join(folder, name), content)
    else writeFileSync(join(folder, name), content, { mode: 0o600 })
  }
}

function choose(luck: Luck, random: Random): boolean {
  return luck === 'all' || (luck === 'some' && random.chance(0.5))
}

// A disk writes whole sectors, and in an order of its own.
function mix(flushed: Buffer, latest: Buffer | undefined, luck: Luck, random: Random): Buffer {
  if (latest === undefined || luck === 'none') return flushed
  if (luck === 'all') return latest
  const mixed = Buffer.alloc(choose(luck, random) ? latest.length : flushed.length)
  for (let at = 0; at < mixed.length; at += sectorBytes) {
    const [old, now] = [flushed, latest].map((from) => from.subarray(at, at + sectorBytes)) as [Buffer, Buffer]
    const chosen = old.equals(now) || choose(luck, random) ? now : old
    chosen.copy(mixed, at)
  }
  return mixed
}
