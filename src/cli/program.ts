import { readFileSync } from 'node:fs'

/** How this program is called where it runs. */
export const program = import.meta.url.includes('/node_modules/') ? 'npx mayfly' : 'npx --no mayfly'

/** What lies in the package now, which need not be what runs. */
export function readVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return version
}
