/** The published package: packed from a copy of the tree, installed into an empty project, used as its users do. */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, normalize } from 'node:path'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { npmEnvironment, type Packed, packTree, quickly, run } from './support/package.ts'
import { type Finished, finish, root, serve } from './support/process.ts'
import { filesOfTheTree } from './support/tree.ts'

const api = 'https://api.example.com'
const olderNode = 'mayfly needs Node.js 24 or newer, this is'
const folder = mkdtempSync(join(tmpdir(), 'mayfly-package-'))
const project = join(folder, 'project')
const installed = join(project, 'node_modules/mayfly')
let packed: Packed

beforeAll(async () => {
  packed = await packTree(folder)
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n')
  await run(project, 'npm', 'install', ...quickly, join(folder, packed.filename))
}, 240_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }), 240_000)

describe('the tarball', { timeout: 120_000 }, () => {
  it('holds what runs and what is read, and nothing else', () => {
    const tree = filesOfTheTree()
    const compiled = tree
      .filter((path) => path.startsWith('src/') && !/\.md$|_snapshot\.json$/.test(path))
      .map((path) => path.replace(/^src/, 'dist').replace(/\.ts$/, '.js'))
    const read = tree.filter((path) =>
      /^(?:bin|docs|examples)\/|^(?:README|SECURITY|CHANGELOG)\.md$|^LICENSE$/.test(path),
    )
    expect(packed.files.map(({ path }) => path).sort()).toEqual([...compiled, ...read, 'package.json'].sort())
  })

  it('holds the migrations of the store, byte for byte', () => {
    const migrations = filesOfTheTree().filter((path) =>
      /^src\/store\/\w+\/migrations\/.*(?<!_snapshot\.json)$/.test(path),
    )
    expect(migrations.length).toBeGreaterThan(2)
    for (const path of migrations) {
      const ours = readFileSync(join(root, path), 'utf8')
      expect(readFileSync(join(installed, path.replace(/^src/, 'dist')), 'utf8')).toBe(ours)
    }
  })

  it('is small, and its documents link to nothing that it does not hold', () => {
    expect(packed.size).toBeLessThan(450_000)
    const paths = packed.files.map(({ path }) => path)
    for (const path of paths.filter((each) => each.endsWith('.md'))) {
      const text = readFileSync(join(installed, path), 'utf8')
      for (const [, target = ''] of text.matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g))
        expect(existsSync(join(installed, normalize(join(dirname(path), target)))), `${target} in ${path}`).toBe(true)
    }
  })

  it('names no source map, and no module of its own that is not there', () => {
    for (const { path } of packed.files.filter(({ path }) => path.endsWith('.js'))) {
      const text = readFileSync(join(installed, path), 'utf8')
      expect(text, path).not.toMatch(/sourceMappingURL/)
      for (const [, target = ''] of text.matchAll(/(?:from|import) ?\(?'(\.[^']+)'/g))
        expect(existsSync(join(installed, dirname(path), target)), `${target} in ${path}`).toBe(true)
    }
  })

  it.each([
    ['publint', 'run', '--strict'],
    ['attw', '--profile', 'esm-only'],
  ])('has nothing that %s complains about', async (tool, ...args) => {
    const checked = await run(folder, join(root, 'node_modules/.bin', tool), ...args, join(folder, packed.filename))
    expect(checked.stdout).toMatch(/All good|No problems found/)
  })

  it('says under which licence, and for which Node it is', () => {
    const { license, engines, version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    expect(readFileSync(join(installed, 'LICENSE'), 'utf8')).toContain(`${license} License`)
    expect(engines).toEqual({ node: '>=24' })
    expect(packed.filename).toBe(`mayfly-${version}.tgz`)
  })
})

describe('the installed package', { timeout: 120_000 }, () => {
  it('prints help and version through npx', async () => {
    expect((await run(project, 'npx', 'mayfly', '--help')).stdout).toMatch(/^Usage: mayfly /)
    expect((await run(project, 'npx', 'mayfly', '--version')).stdout).toBe(`${packedVersion()}\n`)
    expect((await run(project, 'npx', 'mayfly', 'client', 'show', '--help')).stdout).toContain(
      'Example:\n  npx mayfly client show billing\n',
    )
  })

  it('has no entry that a program could import', async () => {
    const attempt = "await import('mayfly').catch(({ code }) => console.log(code))"
    const ended = await run(project, process.execPath, '--input-type=module', '-e', attempt)
    expect(ended.stdout).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED\n')
  })

  it('leads by what it prints to a token that jose verifies, and writes only below the current folder', async () => {
    const before = tree(project)
    const elsewhere = join(folder, 'elsewhere')
    mkdirSync(elsewhere)
    const env = { PATH: npmEnvironment().PATH ?? '', HOME: elsewhere, TMPDIR: elsewhere }
    const server = await serve({ cwd: project, env, command: [join(project, 'node_modules/.bin/mayfly'), 'serve'] })
    await expect.poll(() => commandsIn(server.output()), { timeout: 30_000 }).toHaveLength(2)
    let printed = ''
    for (const command of commandsIn(server.output())) printed = (await run(project, 'bash', '-ec', command)).stdout
    const curl = printed.split('\n').find((line) => line.trim().startsWith('curl ')) ?? 'false'
    const { access_token: token } = JSON.parse((await run(project, 'bash', '-ec', curl)).stdout)
    const keys = createRemoteJWKSet(new URL(`${server.url}/.well-known/jwks.json`))
    const wanted = { issuer: server.url, audience: api, typ: 'at+jwt', algorithms: ['ES256'] }
    expect((await jwtVerify(token, keys, wanted)).payload).toMatchObject({ sub: 'billing', scope: 'invoices:read' })

    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(tree(elsewhere)).toEqual([])
    const added = tree(project).filter((path) => !before.includes(path) && !path.startsWith('node_modules/.cache/'))
    expect(added.sort()).toEqual(['data', 'data/mayfly.db', 'keys', 'keys/master.key', 'keys/master.key.witness'])
  })

  it('ends with 1 and a command that exists here, when there is no database', async () => {
    const empty = join(folder, 'empty')
    mkdirSync(empty)
    const launcher = join(installed, 'bin/mayfly.js')
    const ended = await finish(
      spawn(process.execPath, [launcher, 'client', 'list'], { cwd: empty, env: npmEnvironment() }),
    )
    expect([ended.code, ended.stdout]).toEqual([1, ''])
    expect(ended.stderr).toContain('`npx mayfly serve` or `npx mayfly db migrate` makes one')
    expect(tree(empty)).toEqual([])
  })
})

describe('under an older Node', { timeout: 120_000 }, () => {
  it('says its one sentence and ends with 2, under a made-up version and each old one on the path', async () => {
    // The version is changed before the launcher is read, so that this holds also where no older Node is installed.
    const faked = "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '22.11.0' } })"
    expectSentence(await launch(process.execPath, ['--import', `data:text/javascript,${faked}`]), '22.11.0')
    for (const node of oldNodes()) expectSentence(await launch(node.file, []), node.version)
  })

  it('imports nothing, and uses no newer syntax, before it has looked at the version', () => {
    const [before = '', after = ''] = readFileSync(join(installed, 'bin/mayfly.js'), 'utf8').split('process.exit(2)')
    expect(before).not.toMatch(/^import |\bimport\(|\?\.|\?\?/m)
    expect(after).toMatch(/await import\(/)
  })
})

function packedVersion(): string {
  return /mayfly-(.+)\.tgz/.exec(packed.filename)?.[1] ?? ''
}

function tree(path: string): readonly string[] {
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
}

/** The commands that a first start prints. */
function commandsIn(output: string): readonly string[] {
  return output.split('\n').flatMap((line) => /^ {2}(npx mayfly .+)$/.exec(line)?.[1] ?? [])
}

function launch(node: string, options: readonly string[]): Promise<Finished> {
  const args = [...options, join(installed, 'bin/mayfly.js'), 'serve']
  return finish(spawn(node, args, { cwd: folder, env: npmEnvironment() }))
}

function expectSentence(ended: Finished, version: string): void {
  expect([ended.code, ended.stdout]).toEqual([2, ''])
  expect(ended.stderr).toMatch(/^[^\n]+\n$/)
  expect(ended.stderr.startsWith(`${olderNode} ${version}: `), ended.stderr).toBe(true)
}

function oldNodes(): readonly { file: string; version: string }[] {
  const files = (process.env.PATH ?? '').split(delimiter).map((path) => join(path, 'node'))
  return files.filter(existsSync).flatMap((file) => {
    const version = execFileSync(file, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
    return Number(version.split('.')[0]) < 24 ? [{ file, version }] : []
  })
}
