/**
 * The witness: a small file beside the master key that remembers how far each store had come, by the two counters that
 * every change moves. A store that is behind it is an old copy: what was ended since would live again in it.
 *
 * Several processes write it, each of them may be killed or paused at any moment, and what it says may only rise. There is
 * no lock: Node has none that dies with its owner, and a lock file would outlive it. Instead a write can be revoked:
 *
 *   1  a temporary file is made beside it                        from here on others can see that somebody is about to write
 *   2  the witness is read; the larger of each counter goes
 *      into the temporary file, which is flushed
 *   3  the temporary file is renamed into its place              fails when somebody has revoked it by removing it: again from 1
 *   4  all other temporary files are removed                     whoever made one may have read before 3, and must read again
 *   5  what lies in the place is looked at                       somebody may have renamed between 3 and 4: again from 1
 *   6  the folder is flushed, and the writer relies on it
 *
 * Why it never falls below what somebody relies on: at 5 the file of 3 still lies in its place, so it lay there all the
 * time since. Every temporary file that exists at 5 was made after 3, for the others were removed at 4, and one that had been
 * renamed instead would lie in the place. Whoever made it reads after he made it, so he reads this file or one that was
 * written later by somebody of whom the same holds; and he writes no less than he read.
 *
 * A process that is killed leaves a temporary file, which the next writer removes. Two that revoke each other for ever
 * would wait for chance, so they pause for a random time. Whoever finds that the witness knows enough already goes through 4
 * to 6 as well: who wrote it may not have got there.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { lstatSync, readFileSync, statSync } from 'node:fs'
import { type FileHandle, open, readdir, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { z } from 'zod/mini'
import { makeFolder } from '../lib/make-folder.ts'
import { pause } from '../lib/pause.ts'
import { WitnessUnavailable } from '../lib/store-error.ts'
import type { Sequences } from '../registry/registry-store.ts'
import { StoreOpenError } from './store.ts'

/** How far a store had come. `file`: how far its main file alone had, by the stamp in its first page; 0 when that is not known. */
export interface Remembered extends Sequences {
  readonly file: number
}

/** What a witness remembers, by the id of the store. */
export type WitnessRecord = ReadonlyMap<string, Remembered>

const maxBytes = 64 * 1024
const mostAttempts = 200
const longestPauseMilliseconds = 20

const counter = z.int().check(z.nonnegative())
const content = z.record(
  z.string().check(z.regex(/^[0-9A-Za-z-]{1,64}$/)),
  z.strictObject({ registry: counter, mark: counter, file: z._default(counter, 0) }),
)

/**
 * What a witness file says.
 *
 * @returns `undefined` when there is none
 * @throws StoreOpenError when it cannot be read, or holds something else
 */
export function readWitness(path: string): WitnessRecord | undefined {
  try {
    // A link that leads nowhere is a volume that is not mounted: that is not the same as no witness.
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined
    if (statSync(path).size > maxBytes) throw unreadable(path)
    return parse(readFileSync(path, 'utf8'), path)
  } catch (cause) {
    if (cause instanceof StoreOpenError) throw cause
    throw new StoreOpenError(
      `the witness ${path} cannot be read (${codeOf(cause)}): let the user of this process read it, or give MAYFLY_WITNESS_FILE another path`,
      { cause },
    )
  }
}

function parse(text: string, path: string): WitnessRecord {
  try {
    return new Map(Object.entries(content.parse(JSON.parse(text))))
  } catch {
    throw unreadable(path)
  }
}

function unreadable(path: string): StoreOpenError {
  return new StoreOpenError(
    `the witness ${path} does not hold what Mayfly writes there: put back a copy of it, or move it away if you know that the database is not an old copy, and the next start makes a new one`,
  )
}

/** Whether counters are nowhere behind others. */
export function covers(known: Sequences, wanted: Sequences): boolean {
  return known.registry >= wanted.registry && known.mark >= wanted.mark
}

/** The larger of each counter. */
export function furthest(a: Sequences, b: Sequences | undefined): Sequences {
  return { registry: Math.max(a.registry, b?.registry ?? 0), mark: Math.max(a.mark, b?.mark ?? 0) }
}

function knows(known: Remembered | undefined, wanted: Remembered): boolean {
  return known !== undefined && covers(known, wanted) && known.file >= wanted.file
}

function raised(wanted: Remembered, known: Remembered | undefined): Remembered {
  return { ...furthest(wanted, known), file: Math.max(wanted.file, known?.file ?? 0) }
}

/** The witness as one process writes it. Those who come while a write is under way share the next one. */
export class Witness {
  readonly path: string
  /** What this process has seen to be durable. */
  readonly #known = new Map<string, Remembered>()
  #wanted = new Map<string, Remembered>()
  #anew = false
  #current: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined

  /** @param path absolute */
  constructor(path: string) {
    this.path = path
  }

  /**
   * Resolves when the witness durably says that a store has come at least so far. With `anew` it is written in any case,
   * which shows whether it can be.
   *
   * @throws WitnessUnavailable
   */
  async raise(
    storeId: string,
    { registry, mark, file = 0 }: Sequences & { readonly file?: number },
    { anew }: { readonly anew: boolean } = { anew: false },
  ): Promise<void> {
    const wanted = { registry, mark, file }
    if (!anew && knows(this.#known.get(storeId), wanted)) return
    this.#anew ||= anew
    this.#wanted.set(storeId, raised(wanted, this.#wanted.get(storeId)))
    this.#next ??= this.#writeAfter(this.#current)
    await this.#next
  }

  async #writeAfter(last: Promise<void>): Promise<void> {
    await last.catch(() => undefined)
    const write = this.#write()
    this.#current = write
    this.#next = undefined
    await write
  }

  async #write(): Promise<void> {
    const [wanted, anew] = [this.#wanted, this.#anew]
    this.#wanted = new Map()
    this.#anew = false
    try {
      makeFolder(dirname(this.path))
      for (const [storeId, remembered] of await write(this.path, wanted, anew)) this.#known.set(storeId, remembered)
    } catch (cause) {
      throw new WitnessUnavailable(explain(this.path, cause), { cause })
    }
  }
}

function explain(path: string, cause: unknown): string {
  if (cause instanceof StoreOpenError) return cause.message
  return `the witness ${path} cannot be written (${codeOf(cause)}): let the user of this process write to its folder, or give MAYFLY_WITNESS_FILE another path`
}

async function write(path: string, wanted: WitnessRecord, anew: boolean): Promise<WitnessRecord> {
  for (let attempt = 0; attempt < mostAttempts; attempt += 1) {
    const settled = (anew ? undefined : await settleOnPresent(path, wanted)) ?? (await writeNext(path, wanted))
    if (settled !== undefined) return settled
    await pause(randomInt(longestPauseMilliseconds))
  }
  throw Object.assign(new Error('others write it all the time'), { code: 'EBUSY' })
}

async function settleOnPresent(path: string, wanted: WitnessRecord): Promise<WitnessRecord | undefined> {
  if (!knowsAll(readWitness(path), wanted)) return undefined
  const file = await open(path, 'r')
  try {
    const present = parse(await file.readFile('utf8'), path)
    return knowsAll(present, wanted) && (await settle(path, file)) ? present : undefined
  } finally {
    await file.close()
  }
}

function knowsAll(record: WitnessRecord | undefined, wanted: WitnessRecord): boolean {
  return [...wanted].every(([storeId, remembered]) => knows(record?.get(storeId), remembered))
}

async function writeNext(path: string, wanted: WitnessRecord): Promise<WitnessRecord | undefined> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', 0o600)
  try {
    const merged = merge(readWitness(path), wanted)
    await file.writeFile(format(merged))
    await file.sync()
    if (!(await unlessMissing(rename(temporary, path)))) return undefined
    return (await settle(path, file)) ? merged : undefined
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  } finally {
    await file.close()
  }
}

function merge(present: WitnessRecord | undefined, wanted: WitnessRecord): WitnessRecord {
  const higher = [...wanted].map(([id, remembered]) => [id, raised(remembered, present?.get(id))] as const)
  return new Map([...(present ?? []), ...higher])
}

function format(record: WitnessRecord): string {
  const text = `${JSON.stringify(Object.fromEntries(record), null, 2)}\n`
  if (text.length > maxBytes) throw Object.assign(new Error('it has too many stores'), { code: 'EFBIG' })
  return text
}

// Steps 4 to 6. The file is held open, so that no other can have its inode number.
async function settle(path: string, file: FileHandle): Promise<boolean> {
  await revokeOthers(path)
  const [held, present] = [await file.stat(), await stat(path).catch(() => undefined)]
  if (present?.ino !== held.ino || present.dev !== held.dev) return false
  await syncFolder(dirname(path))
  return true
}

async function revokeOthers(path: string): Promise<void> {
  const prefix = `${basename(path)}.`
  const names = (await readdir(dirname(path))).filter(
    (name) => name.startsWith(prefix) && /^[0-9a-f]{12}\.tmp$/.test(name.slice(prefix.length)),
  )
  for (const name of names) await unlessMissing(unlink(`${dirname(path)}/${name}`))
}

async function unlessMissing(done: Promise<void>): Promise<boolean> {
  try {
    await done
    return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'no code'
}
