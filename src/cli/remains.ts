import { formatTimestamp } from '../lib/clock.ts'
import type { Remains } from '../store/store.ts'
import { formatBytes } from './print.ts'

/** A sentence on what a move has left; `undefined` for other remains. */
export function describeCopy(remains: Remains): string | undefined {
  if (remains.kind !== 'copy') return undefined
  const { to, at, isAbandoned } = remains
  const begun = `a copy to ${to} was begun at ${formatTimestamp(at)} and is not finished, so the database still lives here`
  if (isAbandoned)
    return `${begun}: more was changed than it could follow; run \`mayfly db copy\` again when less is asked`
  return `${begun}: unless that command still runs, run the same \`mayfly db copy\` again, or go on without it`
}

/** A sentence on anything that was left, and how to be rid of it. */
export function describeRemains(remains: Remains): string {
  if (remains.kind === 'copy') return describeCopy(remains) ?? ''
  const [what, how] =
    'schema' in remains
      ? [`the schema ${remains.schema}`, `\`DROP SCHEMA ${remains.schema} CASCADE\` in psql`]
      : [remains.file, 'remove the file']
  return `${what} (${formatBytes(remains.bytes)}) is what \`mayfly db restore\` replaced, with keys and audit trail of then: when nobody has to look something up in it, ${how}`
}
