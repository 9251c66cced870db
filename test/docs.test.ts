import { spawn } from 'node:child_process'
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stalePages } from '../scripts/generate-docs.ts'
import { isProof, parseGuarantees } from '../scripts/guarantees.ts'
import { commands, nouns } from '../src/cli/commands.ts'
import { settingDescriptions } from '../src/config/settings.ts'
import { cleanEnvironment, finish, root, temporaryFolder } from './support/process.ts'
import { copyTree, filesOfTheTree } from './support/tree.ts'

const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const tree = filesOfTheTree()
const documents = tree.filter((path) => path.endsWith('.md'))
const manifest = JSON.parse(read('package.json')) as {
  scripts: Record<string, string>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  optionalDependencies?: Record<string, string>
}

/** What stands in code spans and code blocks, which is what people type. */
function codeOf(path: string): string {
  const text = read(path)
  const blocks = [...text.matchAll(/^```\w*\n(.*?)^```$/gms)].map((match) => match[1] ?? '')
  const spans = [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '')
  return [...blocks, ...spans].join('\n')
}

/** The anchors that headings have, by the rule of those who show Markdown on the web. */
function anchorsOf(path: string): readonly string[] {
  return [...read(path).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

/** The titles of the tests in a file. */
function titlesOf(path: string): readonly string[] {
  return [...read(path).matchAll(/(?:\b(?:it|describe)\(|\)\()\s*(['"`])(.+?)\1/g)].map((match) => match[2] ?? '')
}

describe('the documents', () => {
  it('have references that are as the code has them', () => {
    expect(stalePages()).toEqual([])
  })

  it('are checked by a command that names each reference that differs or is missing', {
    timeout: 120_000,
  }, async () => {
    const copy = copyTree(join(temporaryFolder(), 'tree'))
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    const check = () =>
      finish(spawn(process.execPath, ['scripts/generate-docs.ts', '--check'], { cwd: copy, env: cleanEnvironment() }))
    expect(await check()).toMatchObject({ code: 0, stderr: '' })
    writeFileSync(join(copy, 'docs/cli.md'), read('docs/cli.md').replace('Run the server', 'Run a server'))
    rmSync(join(copy, 'docs/configuration.md'))
    const found = await check()
    expect(found.code).toBe(1)
    expect(found.stderr).toMatch(/^docs\/configuration\.md differs.*\ndocs\/cli\.md differs.*\n$/)
  })

  it.each(documents)('link from %s to what exists', (path) => {
    const links = [...read(path).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)]
    for (const [, target = '', anchor] of links) {
      const file = target === '' ? path : join(dirname(path), target)
      expect(existsSync(join(root, file)), `${target} in ${path}`).toBe(true)
      if (anchor !== undefined) expect(anchorsOf(file), `#${anchor} in ${path}`).toContain(anchor)
    }
  })

  it.each(documents)('name in %s only scripts, commands, files and settings that exist', (path) => {
    const code = codeOf(path)
    for (const [, script = ''] of code.matchAll(/\bnpm (?:run )?(?:--silent )?(test|start|(?<=run )[\w:]+)/g))
      expect(manifest.scripts, `npm run ${script} in ${path}`).toHaveProperty([script])
    for (const [line, noun = '', verb = ''] of code.matchAll(/\bmayfly ([a-z]+)(?: ([a-z-]+))?[^\n`|]*/g))
      expectCommand(line, noun, verb, path)
    for (const [, file = ''] of code.matchAll(/(?<![\w./-])((?:src|test|docs|bin|scripts|examples)\/[\w./-]+)/g))
      expect(existsSync(join(root, file)), `${file} in ${path}`).toBe(true)
    const settings = new Set<string>([
      ...settingDescriptions.map(({ variable }) => variable),
      'MAYFLY_DATABASE_URL_FILE',
    ])
    for (const [name] of read(path).matchAll(/\bMAYFLY_[A-Z_]*[A-Z]\b/g))
      expect(settings.has(name), `${name} in ${path}`).toBe(true)
  })

  it('name in operations every metric that there is, and no other', () => {
    const metrics = (path: string) => [...new Set(read(path).match(/\bmayfly_[a-z_]+/g))].sort()
    expect(metrics('docs/operations.md')).toEqual(
      [...metrics('src/http/metrics.ts'), ...metrics('src/http/metrics-sum.ts')].sort(),
    )
  })

  it('name in issuance and architecture only modules that exist', () => {
    const sources = tree.filter((path) => path.startsWith('src/'))
    for (const path of ['docs/issuance.md', 'docs/architecture.md']) {
      const modules = [...read(path).matchAll(/`((?:[a-z-]+\/)*[a-z-]+\.ts)`/g)].map((match) => match[1] ?? '')
      expect(modules.length).toBeGreaterThan(10)
      for (const module of modules)
        expect(
          [...tree, ...sources].some((file) => file === module || file.endsWith(`/${module}`)),
          module,
        ).toBe(true)
    }
  })
})

/** A command that is written down exists, and so do the options that are written beside it. */
function expectCommand(line: string, noun: string, verb: string, path: string): void {
  const found = commands.find(({ name }) => name === noun || name === `${noun} ${verb}`)
  if (found === undefined) {
    expect(Object.keys(nouns), `mayfly ${noun} in ${path}`).toContain(noun)
    expect(verb, `mayfly ${noun} ${verb} in ${path}`).toBe('')
    return
  }
  const known = [...(found.options ?? []).map(({ flags }) => flags.split(' ')[0]), '--json', '--help', '--yes']
  for (const [option] of line.matchAll(/(?<= |\[)--[a-z-]+/g)) expect(known, `${line} in ${path}`).toContain(option)
}

describe('conformance', () => {
  const rows = [...read('docs/conformance.md').matchAll(/^\| ([A-Z]+-[0-9]{2}) \|.*\| (test\/\S+) \|$/gm)]

  it('names for each line a test whose title carries its id', () => {
    expect(rows.length).toBeGreaterThan(50)
    for (const [, id = '', path = ''] of rows)
      expect(titlesOf(path).join('\n'), `${id} in ${path}`).toMatch(new RegExp(`\\b${id}\\b`))
  })

  it('has a line for each id that a test carries, and none of them among what is not there yet', () => {
    const groups = /\b(?:HTTP|CA|JA|TLS|CC|AT|JK|MD|RI|RT|RV|IN|DP)-[0-9]{2}\b/g
    const carried = new Set(
      tree.filter((path) => path.endsWith('.test.ts')).flatMap((path) => titlesOf(path).join('\n').match(groups) ?? []),
    )
    expect([...new Set(rows.map(([, id]) => id))].sort()).toEqual([...carried].sort())
  })
})

describe('guarantees', () => {
  const page = read('docs/guarantees.md')

  it('have each a command whose test exists', () => {
    const guarantees = parseGuarantees(page)
    expect(guarantees.length).toBeGreaterThan(10)
    for (const { command } of guarantees) {
      const [, path, quoted, bare] = /^npx --no vitest run (\S+)(?: -t (?:"([^"]+)"|(\S+)))?$/.exec(command) ?? []
      if (path === undefined) expect(command).toMatch(/^npm (?:test|run [\w:]+)(?: -- .+)?$/)
      else expect(titlesOf(path).join('\n'), command).toContain(quoted ?? bare ?? '')
    }
  })

  it('are not proved by a command that fails, or that runs no test', () => {
    const run = 'npx --no vitest run test/x.test.ts -t x'
    expect(isProof(run, 0, '      Tests  3 passed | 55 skipped (58)\n')).toBe(true)
    expect(isProof(run, 0, '      Tests  58 skipped (58)\n')).toBe(false)
    expect(isProof(run, 0, '')).toBe(false)
    expect(isProof(run, 1, '      Tests  1 failed | 3 passed (4)\n')).toBe(false)
    expect(isProof('npm run bench', 0, '')).toBe(true)
    expect(isProof('npm run bench', null, '')).toBe(false)
  })

  it('are refused without a command, or without a table', () => {
    expect(() => parseGuarantees('# Guarantees\n')).toThrow('no table')
    expect(() => parseGuarantees('| promise | command | seen |\n|---|---|---|\n| it flies | ask | 1 |\n')).toThrow(
      'it flies',
    )
  })
})

describe('dependencies', () => {
  it('are named with what they are for, each of them and no other', () => {
    const named = [...read('docs/dependencies.md').matchAll(/^\| ([^|]+) \| [^|]+ \| [^|]+ \|$/gm)]
      .flatMap(([, cell = '']) => cell.split(', '))
      .filter((name) => name !== 'package')
    const { dependencies, devDependencies, optionalDependencies } = manifest
    expect(named.sort()).toEqual(Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies }).sort())
  })
})
