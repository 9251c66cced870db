// tsc emits what it compiled; the migrations are SQL and go along by hand.
import { cpSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
for (const engine of readdirSync(join(root, 'src/store'), { withFileTypes: true })) {
  if (!engine.isDirectory()) continue
  const folder = join('store', engine.name, 'migrations')
  cpSync(join(root, 'src', folder), join(root, 'dist', folder), { recursive: true })
}
