import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { root, temporaryFolder } from './support/process.ts'

/** What the linter says of files in a tree with our rules: a rule's name for each finding, by path. */
function lint(files: Readonly<Record<string, string>>): Readonly<Record<string, readonly string[]>> {
  const folder = temporaryFolder()
  copyFileSync(join(root, 'biome.json'), join(folder, 'biome.json'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const found: Record<string, string[]> = {}
  const output = runBiome(folder)
  for (const [, path = '', rule = ''] of output.matchAll(/^(src\/\S+?):[0-9]+:[0-9]+ (lint\/\S+)/gm)) {
    found[path] = [...(found[path] ?? []), rule.split('/').at(-1) ?? '']
  }
  return found
}

function runBiome(cwd: string): string {
  try {
    const biome = join(root, 'node_modules/.bin/biome')
    return execFileSync(biome, ['lint', '--vcs-enabled=false', '--max-diagnostics=none'], {
      cwd,
      encoding: 'utf8',
      stdio: 'pipe',
    })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    return stdout + stderr
  }
}

const forbidden: readonly [string, string][] = [
  ['src/lib', "import '../oauth/scope.ts'"],
  ['src/oauth', "import '../client/client.ts'"],
  ['src/audit', "import '../key/ring.ts'"],
  ['src/key', "import '../client/client.ts'"],
  ['src/resource', "import '../client/client.ts'"],
  ['src/outbound', "import '../client/client.ts'"],
  ['src/oauth', "import '../outbound/remote-keys.ts'"],
  ['src/http', "import '../outbound/document-fetcher.ts'"],
  ['src/verifier', "import '../outbound/document-fetcher.ts'"],
  ['src/client', "import '../token/issue.ts'"],
  ['src/registry', "import '../token/issue.ts'"],
  ['src/token', "import '../http/server.ts'"],
  ['src/grant', "import '../store/store.ts'"],
  ['src/http', "import '../store/store.ts'"],
  ['src/store/sqlite', "import '../../http/server.ts'"],
  ['src/verifier', "import '../client/client.ts'"],
  ['src/token', "import 'hono'"],
  ['src/http', "import 'better-sqlite3'"],
  ['src/client', "import 'drizzle-orm'"],
  ['src/registry', "import 'pg'"],
  ['src/token', "import '../app/prepare.ts'"],
  ['src/key', "import '../config/settings.ts'"],
  ['src/config', "import '../client/client.ts'"],
  ['src/config', "import '../app/prepare.ts'"],
  ['src/app', "import '../cli/cli.ts'"],
  ['src/app', "import 'pg'"],
]

const allowed: readonly [string, string][] = [
  ['src/token', "import '../oauth/scope.ts'"],
  ['src/http', "import 'hono'"],
  ['src/store/sqlite', "import '../../client/client-store.ts'"],
  ['src/cli', "import '../store/open-store.ts'"],
  ['src/client', "import '../outbound/remote-keys.ts'"],
  ['src/config', "import '../key/timing.ts'"],
  ['src/app', "import '../store/open-store.ts'"],
]

/** What may be used of the modules that can open a connection, outside of outbound/: it listens, reads and compares. */
const harmless = [
  'BlockList',
  'STATUS_CODES',
  'Server as NetServer',
  // Only to tell such a connection from another.
  'TLSSocket',
  'createSecureContext',
  'createServer',
  'createServer as createTlsServer',
  'isIP',
]
const connecting =
  /^import (?<type>type )?(?<names>[^;']*?) from 'node:(?:https?|http2|net|tls|dgram|dns|dns\/promises)'$/gms

describe('the walls between rooms', () => {
  it('refuse each import that goes the wrong way, and no other', () => {
    const name = (folder: string, i: number, kind: string): string => `${folder}/${kind}-${i}.ts`
    const found = lint({
      ...Object.fromEntries(forbidden.map(([folder, text], i) => [name(folder, i, 'bad'), `${text}\n`])),
      ...Object.fromEntries(allowed.map(([folder, text], i) => [name(folder, i, 'good'), `${text}\n`])),
    })
    forbidden.forEach(([folder, text], i) => {
      expect(found[name(folder, i, 'bad')], `${folder}: ${text}`).toEqual(['noRestrictedImports'])
    })
    allowed.forEach(([folder], i) => {
      expect(found[name(folder, i, 'good')]).toBeUndefined()
    })
  })

  it('keep the environment in cli/', () => {
    const text = 'export const x = process.env.X\n'
    expect(lint({ 'src/token/x.ts': text, 'src/cli/x.ts': text })).toEqual({
      'src/token/x.ts': ['noRestrictedGlobals'],
    })
  })

  it('I22 let outbound/ alone open connections', () => {
    const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.startsWith('outbound/'))
      .map((path) => [path, readFileSync(join(root, 'src', path), 'utf8')] as const)
    const used = sources
      .flatMap(([, text]) => [...text.matchAll(connecting)])
      .filter(({ groups }) => groups?.type === undefined)
      .flatMap(({ groups }) => (groups?.names ?? '').replace(/^\{|\}$/g, '').split(','))
      .map((name) => name.trim())
      .filter((name) => name !== '' && !name.startsWith('type '))
    expect([...new Set(used)].sort()).toEqual(harmless)
    const hidden =
      /(?:import|require|getBuiltinModule)\(\s*['"](?:node:)?(?:https?|http2|net|tls|dgram|dns)|from '(?:undici|ws|axios)/
    expect(sources.filter(([, text]) => hidden.test(text)).map(([path]) => path)).toEqual([])
    // The doctor asks the issuer that it stands beside, as its clients do.
    const fetching = sources
      .filter(([, text]) => /(?<![.\w])fetch\((?!request: Request)/.test(text))
      .map(([path]) => path)
    expect(fetching).toEqual(['cli/doctor-checks.ts'])
  })

  it('keep the global fetch out of every room but cli/', () => {
    const text = "export const reply = await fetch('https://a.test/')\n"
    expect(lint({ 'src/token/x.ts': text, 'src/outbound/x.ts': text })).toEqual({
      'src/token/x.ts': ['noRestrictedGlobals'],
      'src/outbound/x.ts': ['noRestrictedGlobals'],
    })
  })

  it('keep the clock in lib/clock.ts', () => {
    const readers = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && path !== 'lib/clock.ts')
      .filter((path) =>
        /Date\.now\(|new Date\(\)|performance\.now\(/.test(readFileSync(join(root, 'src', path), 'utf8')),
      )
    expect(readers).toEqual([])
  })
})
