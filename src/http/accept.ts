interface MediaRange {
  readonly name: string
  readonly quality: number
}

const rangeForm = /^(?<name>[\w!#$&^.+*-]+\/[\w!#$&^.+*-]+)(?<parameters>(?:[ \t]*;[^;]*)*)$/
const qualityForm = /;[ \t]*q[ \t]*=[ \t]*(?<quality>[01](?:\.[0-9]{0,3})?)[ \t]*(?:;|$)/i

/**
 * Whether a caller wants one media type rather than another, by its `Accept` header: it likes it better, or as well and
 * names it where the other falls under `*`. When it says nothing, it does not.
 *
 * @see RFC 9110 section 12.5.1
 */
export function prefers(accept: string | undefined, wanted: string, usual: string): boolean {
  // What most callers say: nothing.
  if (accept === undefined || accept === '*/*') return false
  const ranges = accept
    .split(',')
    .map(parseRange)
    .filter((range) => range !== undefined)
  const [a, b] = [rate(ranges, wanted), rate(ranges, usual)]
  return a.quality > 0 && (a.quality > b.quality || (a.quality === b.quality && a.precision > b.precision))
}

function parseRange(text: string): MediaRange | undefined {
  const { name, parameters = '' } = rangeForm.exec(text.trim())?.groups ?? {}
  if (name === undefined) return undefined
  return { name: name.toLowerCase(), quality: Number(qualityForm.exec(parameters)?.groups?.quality ?? 1) }
}

// The most precise range that a type falls under says how much it is liked.
function rate(ranges: readonly MediaRange[], type: string): { readonly quality: number; readonly precision: number } {
  const [family] = type.split('/')
  const names = ['*/*', `${family}/*`, type]
  const rated = ranges
    .map(({ name, quality }) => ({ quality, precision: names.indexOf(name) }))
    .filter(({ precision }) => precision >= 0)
  return rated.toSorted((a, b) => b.precision - a.precision)[0] ?? { quality: 0, precision: -1 }
}
