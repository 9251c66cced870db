import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stalePages } from '../scripts/generate-docs.ts'
import { root } from './support/process.ts'

const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const documents = [
  'README.md',
  'SECURITY.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => `docs/${path}`),
]

const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).map((path) => `src/${path}`)

describe('the documents', () => {
  it('have references that are as the code has them', () => {
    expect(stalePages()).toEqual([])
  })

  it.each(documents)('link from %s to what exists', (path) => {
    const targets = [...read(path).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? '')
    for (const target of targets) expect(existsSync(join(root, dirname(path), target)), target).toBe(true)
  })

  it('name for each line of conformance a test that carries its id', () => {
    const rows = [...read('docs/conformance.md').matchAll(/^\| ([A-Z]+-[0-9]{2}) \|.*\| (test\/\S+) \|$/gm)]
    expect(rows.length).toBeGreaterThan(50)
    for (const [, id = '', path = ''] of rows) expect(read(path), `${id} in ${path}`).toMatch(new RegExp(`\\b${id}\\b`))
  })

  it('name for each guarantee a command whose test exists', () => {
    const commands = [
      ...read('docs/guarantees.md').matchAll(/`npx --no vitest run (\S+)(?: -t (?:"([^"]+)"|(\S+)))?`/g),
    ]
    expect(commands.length).toBeGreaterThan(8)
    for (const [, path = '', quoted, bare] of commands) {
      expect(existsSync(join(root, path)), path).toBe(true)
      expect(read(path)).toContain(quoted ?? bare ?? '')
    }
  })

  it('name for each guarantee an npm script that exists', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    for (const [, script = ''] of read('docs/guarantees.md').matchAll(/`npm run ([\w:]+)`/g))
      expect(scripts).toHaveProperty([script])
  })

  it('name in issuance and architecture only files that exist', () => {
    for (const path of ['docs/issuance.md', 'docs/architecture.md']) {
      for (const [, file = ''] of read(path).matchAll(/`((?:src\/)?(?:[a-z-]+\/)*[a-z-]+\.ts)`/g)) {
        const found = [file, `src/${file}`, ...sources.filter((source) => source.endsWith(`/${file}`))]
        expect(
          found.some((candidate) => existsSync(join(root, candidate))),
          `${file} in ${path}`,
        ).toBe(true)
      }
    }
  })

  it('name in the changelog and the README no setting that does not exist', async () => {
    const { settingDescriptions } = await import('../src/config.ts')
    const known = new Set<string>([...settingDescriptions.map(({ variable }) => variable), 'MAYFLY_DATABASE_URL_FILE'])
    for (const path of documents) {
      for (const [name] of read(path).matchAll(/\bMAYFLY_[A-Z_]*[A-Z]\b/g))
        expect(known.has(name), `${name} in ${path}`).toBe(true)
    }
  })
})
