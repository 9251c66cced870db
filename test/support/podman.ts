/** podman without a daemon, systemd or a registry: in a store of its own, on an image that is made from this machine. */
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { npmEnvironment } from './package.ts'
import { type Finished, finish } from './process.ts'

// crun reads how control groups are laid out, and knows neither none nor the older layout; it makes no groups here.
const apart = `
umount --lazy --recursive /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 none /sys/fs/cgroup && exec podman "$@"
`

export interface Podman {
  (...args: string[]): Promise<Finished>
  /** Runs it to its end, and fails when it fails. Resolves with what it printed. */
  done(...args: string[]): Promise<string>
}

export function makePodman(folder: string): Podman {
  const place = ['--root', join(folder, 'store'), '--runroot', join(folder, 'run'), '--tmpdir', join(folder, 'tmp')]
  const podman = (...args: string[]): Promise<Finished> => {
    const all = ['--mount', 'sh', '-c', apart, 'podman', ...place, '--storage-driver', 'vfs', ...args]
    return finish(spawn('unshare', all, { stdio: 'pipe' }))
  }
  const done = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await podman(...args)
    if (code !== 0) throw new Error(`podman ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`)
    return stdout.trim()
  }
  return Object.assign(podman, { done })
}

const cacheInImage = '/var/cache/npm'

const npmSetting = (name: string): string =>
  execFileSync('npm', ['config', 'get', name], { encoding: 'utf8', env: npmEnvironment() }).trim()

/** Options for building on an image of `makeNodeImage`, without a registry of images. */
export const buildOptions = (): readonly string[] => {
  mkdirSync(npmSetting('cache'), { recursive: true })
  return ['--isolation=chroot', '--layers=false', '--pull=never', `--volume=${npmSetting('cache')}:${cacheInImage}`]
}

const tools = ['sh', 'mkdir', 'chown', 'ln', 'rm', 'tar', 'gzip', 'env', 'touch']

/** What stands in for an image of Node: this Node with npm, and the programs and libraries that a Containerfile calls. */
export async function makeNodeImage(podman: Podman, folder: string, tag: string): Promise<void> {
  const put = (from: string, to: string): void => {
    mkdirSync(dirname(join(folder, to)), { recursive: true })
    cpSync(realpathSync(from), join(folder, to), { recursive: true })
  }
  const where = (tool: string): string => execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim()
  const programs = tools.map((tool) => [where(tool), `usr/bin/${tool}`] as const)
  for (const [from, to] of [...programs, [process.execPath, 'usr/local/bin/node'] as const]) {
    put(from, to)
    const libraries = execFileSync('ldd', [realpathSync(from)], { encoding: 'utf8' }).matchAll(/(\/\S+\.so\S*)/g)
    for (const [, library = ''] of libraries) put(library, library)
  }
  put(where('sh'), 'bin/sh')
  put(join(dirname(realpathSync(where('npm'))), '..'), 'usr/local/lib/npm')
  // npm in the image asks the registry that npm here asks, by the same authorities, and has what npm here has.
  const lines = [`registry=${npmSetting('registry')}`, `cache=${cacheInImage}`, 'prefer-offline=true']
  const { NODE_EXTRA_CA_CERTS: authorities } = process.env
  if (authorities !== undefined) {
    put(authorities, 'etc/authorities.pem')
    lines.push('cafile=/etc/authorities.pem')
  }
  mkdirSync(join(folder, 'usr/local/etc'), { recursive: true })
  writeFileSync(join(folder, 'usr/local/etc/npmrc'), `${lines.join('\n')}\n`)
  writeFileSync(join(folder, 'usr/local/bin/npm'), `#!/bin/sh\nexec node /usr/local/lib/npm/bin/npm-cli.js "$@"\n`, {
    mode: 0o755,
  })
  mkdirSync(join(folder, 'tmp'), { mode: 0o1777 })
  mkdirSync(join(folder, 'etc'), { recursive: true })
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
  const file = join(folder, 'Containerfile')
  writeFileSync(file, 'FROM scratch\nCOPY . /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n')
  await podman.done('build', '--isolation', 'chroot', '--layers=false', '--tag', tag, '--file', file, folder)
}

/** The images that a Containerfile begins with. */
export function basesOf(containerfile: string): readonly string[] {
  return [...new Set([...readFileSync(containerfile, 'utf8').matchAll(/^FROM (\S+)/gm)].map(([, base = '']) => base))]
}
