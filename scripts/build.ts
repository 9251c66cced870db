/** Makes `dist/`, what the published package runs: compiled modules and, since tsc leaves them out, the SQL migrations. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')

// A module that is no longer in src/ must not be published from an earlier build.
rmSync(dist, { recursive: true, force: true })
execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', join(root, 'tsconfig.build.json')], { stdio: 'inherit' })
for (const engine of readdirSync(join(root, 'src/store'))) {
  const folder = join('store', engine, 'migrations')
  if (!existsSync(join(root, 'src', folder))) continue
  // A snapshot is for those who make the next migration.
  const isRun = (path: string): boolean => !path.endsWith('_snapshot.json')
  cpSync(join(root, 'src', folder), join(dist, folder), { recursive: true, filter: isRun })
}
