import { spawn } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { cleanEnvironment, finish, root } from './support/process.ts'

/** Runs a script with a logger called `log` on one pipe. @returns its lines */
async function run(script: string, processes = 1): Promise<readonly string[]> {
  const program = `
    const { openLog } = await import(${JSON.stringify(`${root}/src/cli/operator-log.ts`)})
    const { log } = openLog('debug', { worker: Number(process.env.NUMBER) })
    ${script}`
  const one = (i: number): string => `NUMBER=${i} "$0" --input-type=module -e "$1" &`
  const shell = `${Array.from({ length: processes }, (_, i) => one(i + 1)).join(' ')} wait`
  const child = spawn('sh', ['-c', shell, process.execPath, program], { env: cleanEnvironment(), stdio: 'pipe' })
  const { stderr } = await finish(child)
  return stderr.split('\n').slice(0, -1)
}

describe('the log', () => {
  it('is one stream of whole lines, though many processes write long ones to one pipe', async () => {
    const lines = await run(
      `for (let i = 0; i < 400; i += 1) log.error({ i, err: { message: 'x'.repeat(i * 40) } }, 'long')`,
      4,
    )
    expect(lines).toHaveLength(1_600)
    const parsed = lines.map((line) => JSON.parse(line) as { worker: number; i: number })
    expect(new Set(parsed.map(({ worker, i }) => `${worker} ${i}`)).size).toBe(1_600)
    expect(Math.max(...lines.map((line) => Buffer.byteLength(line)))).toBeLessThan(4_096)
  })

  it('shortens texts that are too long, and says when a line has too many of them', async () => {
    const [short, long, many] = await run(`
      log.info({ text: 'ä'.repeat(300) }, 'short')
      log.info({ text: 'ä'.repeat(9_000), deep: { text: 'b'.repeat(9_000) } }, 'long')
      log.info({ list: Array.from({ length: 2_000 }, (_, i) => 'entry ' + i) }, 'many')`)
    expect(JSON.parse(short ?? '')).toMatchObject({ text: 'ä'.repeat(300), message: 'short' })
    expect(JSON.parse(long ?? '')).toMatchObject({
      text: `${'ä'.repeat(400)}…`,
      deep: { text: `${'b'.repeat(400)}…` },
      message: 'long',
    })
    expect(JSON.parse(many ?? '')).toEqual({
      level: 'info',
      time: expect.any(String) as string,
      worker: 1,
      message: 'many',
      cut: true,
    })
  })
})
