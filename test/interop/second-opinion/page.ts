/** The page for people. `node test/interop/second-opinion/page.ts` writes it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Difference, differences } from './differences.ts'
import { rows } from './requests.ts'

export const pagePath = join(import.meta.dirname, '../../../docs/second-opinion.md')

const all = Object.values(differences).flat()

/** `docs/second-opinion.md`, as the table has it. */
export function renderPage(): string {
  const different = all.flatMap(({ ids }) => ids).length
  return `# A second opinion

Written by \`node test/interop/second-opinion/page.ts\` from the tables beside it; change it there.

${rows.length} requests, good and bad, go to Mayfly and to [oidc-provider](https://github.com/panva/node-oidc-provider) 9, a
certified OpenID provider, with the same clients, secrets, scopes and resources. Status and \`error\` code are compared.
${rows.length - different} get the same answer and ${different} do not: here is each difference, with its reason. The test fails when one is
missing here, is a difference no more, or is another.

oidc-provider runs with client credentials, resource indicators and JWT access tokens, Basic and post, and with all else
off that can be. It is the wider and older of the two; where the reason is a limit or a choice, it is right as well.

${Object.entries(differences).map(renderSection).join('\n\n')}
`
}

function renderSection([title, group]: [string, readonly Difference[]]): string {
  const lines = group.map(
    ({ mayfly, peer, reason, see, ids }) =>
      `| ${ids[0]}${ids.length > 1 ? `, and ${ids.length - 1} more` : ''} | ${mayfly} | ${peer} | ${reason} | ${see} |`,
  )
  return [
    `## ${title}`,
    '',
    '| request | Mayfly | oidc-provider | reason | see |',
    '|---|---|---|---|---|',
    ...lines,
  ].join('\n')
}

if (import.meta.main) writeFileSync(pagePath, renderPage())
