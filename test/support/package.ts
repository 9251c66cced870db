/** The published package: packed from a copy of the tree, and npm as its users call it. */
import { spawn } from 'node:child_process'
import { symlinkSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { cleanEnvironment, type Finished, finish, root } from './process.ts'
import { copyTree } from './tree.ts'

/** What `npm pack --json` says. */
export interface Packed {
  readonly filename: string
  readonly size: number
  readonly unpackedSize: number
  readonly files: readonly { readonly path: string; readonly mode: number }[]
}

/** Options of `npm install` that keep it from asking the network for what it has. */
export const quickly = ['--prefer-offline', '--no-audit', '--no-fund', '--no-update-notifier'] as const

// npm hands its own settings down to what it runs; here it starts anew, with the Node that runs the tests.
export function npmEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(cleanEnvironment()).filter(
    ([name]) => !/^(?:npm_(?:package|lifecycle|command|config_local_prefix)|INIT_CWD)/.test(name),
  )
  return { ...Object.fromEntries(entries), PATH: [dirname(process.execPath), process.env.PATH].join(delimiter) }
}

/** Runs a program in that environment to its end. Fails when the program does. */
export async function run(cwd: string, file: string, ...args: string[]): Promise<Finished> {
  const ended = await finish(spawn(file, args, { cwd, env: npmEnvironment() }))
  if (ended.code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${ended.code}: ${ended.stderr}`)
  return ended
}

/** Packs a copy of the tree, which it makes as `tree` in a folder, into that folder or another one. */
export async function packTree(folder: string, destination = folder): Promise<Packed> {
  const tree = copyTree(join(folder, 'tree'))
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
  const { stdout } = await run(tree, 'npm', 'pack', '--json', '--pack-destination', destination)
  return (JSON.parse(stdout) as [Packed])[0]
}
