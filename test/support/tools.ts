import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { onTestFinished } from 'vitest'

/** Fails by name when a tool or the privilege that a test needs is not there. */
export function requireTools(...tools: readonly string[]): void {
  if (process.getuid?.() !== 0) throw new Error('these tests need root: run them as root, or in CI')
  for (const tool of tools) {
    try {
      execFileSync('sh', ['-c', `command -v ${tool}`], { stdio: 'ignore' })
    } catch {
      throw new Error(`these tests need ${tool}: install it with apt-get`)
    }
  }
}

export function run(file: string, ...args: readonly string[]): string {
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Mounts an empty tmpfs at a path, with its size as mount takes it; it is gone with the test. */
export function mountTmpfs(path: string, size: string): string {
  mkdirSync(path, { recursive: true })
  run('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path)
  onTestFinished(() => void run('umount', '-l', path))
  return path
}
