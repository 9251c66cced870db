/** The command line as its user has it: `mayfly …` in a process of its own, in the folder of one node. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { environmentWith, launcher } from '../torture/servers.ts'

/** Whose machine a command runs on. */
export interface CommandPlace {
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
}

const mostMilliseconds = 60_000

/** Runs one command. @returns when it had ended, on the monotonic clock. @throws Error when it does not end well */
export async function runCommand(args: readonly string[], { folder, env }: CommandPlace): Promise<number> {
  const child = spawn(process.execPath, [launcher, ...args, '--json'], {
    cwd: folder,
    env: environmentWith(env),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: mostMilliseconds,
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text
    })
  }
  const closed = once(child, 'close')
  const [code, signal] = await once(child, 'exit')
  const ended = performance.now()
  await closed
  if (code !== 0) throw new Error(`mayfly ${args[0]} ${args[1]} ended with ${code ?? signal}: ${printed}`)
  return ended
}
