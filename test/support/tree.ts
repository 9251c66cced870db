/** The files of the repository as a newcomer gets them: what git knows, and what is new and not ignored. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './process.ts'

/** Paths from the root of the repository. */
export function filesOfTheTree(): readonly string[] {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root })
  return list
    .toString()
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(root, path)))
}

/** Puts a copy of them into a folder. */
export function copyTree(folder: string): string {
  for (const path of filesOfTheTree()) cpSync(join(root, path), join(folder, path), { recursive: true })
  return folder
}
