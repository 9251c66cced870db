/** The unit for systemd that is in examples/, on paths of a test, and run without systemd by what the kernel has. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { packTree, quickly, run as runInstall } from './package.ts'
import { root } from './process.ts'

export const user = 64_321

export interface Unit {
  readonly file: string
  readonly folder: string
  /** All values of a directive, in their order. */
  values(directive: string): readonly string[]
  /** The last one. @throws Error when there is none */
  value(directive: string): string
}

/**
 * Installs the package as the guide says, below a folder that every user can reach, and writes the unit there.
 *
 * @param folder empty
 */
export async function installUnit(folder: string): Promise<Unit> {
  for (const each of [folder, join(folder, 'etc'), join(folder, 'lib'), join(folder, 'node'), join(folder, 'usr')])
    mkdirSync(each, { recursive: true, mode: 0o755 })
  chmodSync(folder, 0o755)
  // The Node of the tests may lie where no other user can go.
  copyFileSync(process.execPath, join(folder, 'node/node'))
  const { filename } = await packTree(join(folder, 'pack'), folder)
  await runInstall(
    folder,
    'npm',
    'install',
    '--global',
    '--prefix',
    join(folder, 'usr'),
    ...quickly,
    join(folder, filename),
  )
  const here = (path: string): string =>
    readFileSync(join(root, 'examples/systemd', path), 'utf8')
      .replaceAll('/usr/local/', `${folder}/usr/`)
      .replaceAll('/var/lib/', `${folder}/lib/`)
      .replaceAll('/etc/mayfly', `${folder}/etc`)
  const text = here('mayfly.service')
  const file = join(folder, 'mayfly.service')
  writeFileSync(file, text)
  writeFileSync(join(folder, 'etc/.env'), here('mayfly.env'), { mode: 0o640 })
  chownSync(join(folder, 'etc/.env'), 0, user)
  const values = (directive: string): readonly string[] =>
    [...text.matchAll(new RegExp(`^${directive}=(.*)$`, 'gm'))].map(([, value = '']) => value)
  const value = (directive: string): string => {
    const last = values(directive).at(-1)
    if (last === undefined) throw new Error(`the unit has no ${directive}`)
    return last
  }
  return { file, folder, values, value }
}

/** The folders that the unit lets its process write to, made as systemd makes them, and empty. */
export function makeStateFolders({ folder, value }: Unit): readonly string[] {
  return value('StateDirectory')
    .split(' ')
    .map((name) => {
      const path = join(folder, 'lib', name)
      mkdirSync(path, { recursive: true })
      chmodSync(path, Number.parseInt(value('StateDirectoryMode'), 8))
      chownSync(path, user, user)
      return path
    })
}

// What ProtectSystem=strict, User=, NoNewPrivileges=, CapabilityBoundingSet= and UMask= do: all mounts but those of the
// kernel are read-only, the process is nobody's, and has no privilege that it could get back.
const confine = `
set -e
for folder in $WRITABLE; do mount --bind "$folder" "$folder"; done
findmnt --raw --noheadings --output TARGET | while read -r mount; do
  case " $WRITABLE " in *" $mount "*) continue;; esac
  case "$mount" in /proc|/proc/*|/sys|/sys/*|/dev|/dev/*) continue;; esac
  mount -o remount,bind,ro "$mount"
done
umask "$MASK"
cd "$FOLDER"
exec setpriv --reuid ${user} --regid ${user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
`

/** Starts a command as the unit would start its own; it is killed with the test. */
export function startConfined(
  unit: Unit,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
  writable: readonly string[] = [],
): ChildProcess {
  const more = {
    PATH: `${join(unit.folder, 'node')}:/usr/bin:/bin`,
    FOLDER: unit.value('WorkingDirectory'),
    MASK: unit.value('UMask'),
    WRITABLE: [...makeStateFolders(unit), ...writable].join(' '),
  }
  const args = ['--mount', '--propagation', 'private', 'sh', '-c', confine, dirname(unit.file), ...command]
  const child = spawn('unshare', args, { env: { ...more, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}
