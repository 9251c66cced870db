/** A store that moves between places, as tests of moves see it. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect } from 'vitest'
import type { Copied } from '../../src/store/copy/copy.ts'
import type { CopySource, CopyTarget } from '../../src/store/copy/sides.ts'
import { moveStore, openStoreAt, type StorePlace } from '../../src/store/open-store.ts'
import { PostgresCopySource } from '../../src/store/postgres/copy-source.ts'
import { PostgresCopyTarget } from '../../src/store/postgres/copy-target.ts'
import { SqliteCopySource } from '../../src/store/sqlite/copy-source.ts'
import { SqliteCopyTarget } from '../../src/store/sqlite/copy-target.ts'
import { StoreOpenError } from '../../src/store/store.ts'
import { makeInstallation } from './installation.ts'
import { temporaryFolder } from './process.ts'

/** A folder with a store in a file, and what moves it. */
export interface World {
  readonly folder: string
  readonly place: StorePlace
  readonly witness: string
  file(name: string): StorePlace
  move(from: StorePlace, to: StorePlace): Promise<Copied>
}

function makeWorld(template: string): World {
  const folder = temporaryFolder()
  cpSync(template, folder, { recursive: true })
  const witness = join(folder, 'keys/master.key.witness')
  return {
    folder,
    witness,
    place: { databasePath: join(folder, 'data/mayfly.db') },
    file: (name) => ({ databasePath: join(folder, name) }),
    move: (from, to) => moveStore({ from, to, witnessFile: witness, actor: 'cli:test', checkKeys: () => undefined }),
  }
}

/** Worlds for all tests of a file, each a copy of the first, or of another one. */
export function useWorlds(): (folder?: string) => World {
  let template = ''
  beforeAll(async () => {
    template = mkdtempSync(join(tmpdir(), 'mayfly-copy-'))
    await makeInstallation(template)
    return () => rmSync(template, { recursive: true, force: true })
  })
  return (folder = template) => makeWorld(folder)
}

/** The same world, with its store moved to another place. */
export async function withStoreAt(world: World, place: StorePlace): Promise<World> {
  await world.move(world.place, place)
  return { ...world, place }
}

/** Whether a server could serve what was copied from there. A place with tables and nothing in them holds none of it. */
export async function isLive(place: StorePlace, witness: string): Promise<boolean> {
  try {
    const store = await openStoreAt(place, { create: false, examine: true, witness: { file: witness } })
    const material = await store.readKeys()
    await store.close()
    return material !== undefined
  } catch (error) {
    expect(error).toBeInstanceOf(StoreOpenError)
    return false
  }
}

export async function sourceAt({ databasePath, postgresUrl }: StorePlace): Promise<CopySource> {
  if (postgresUrl !== undefined) return PostgresCopySource.open(postgresUrl, databasePath)
  return new SqliteCopySource(databasePath, Date.now())
}

export async function targetAt({ databasePath, postgresUrl }: StorePlace): Promise<CopyTarget> {
  if (postgresUrl !== undefined) return PostgresCopyTarget.open(postgresUrl, databasePath)
  return new SqliteCopyTarget(databasePath)
}
