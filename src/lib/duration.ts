const secondsPerUnit = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/**
 * A duration as people write it, a whole number and one unit: `30s`, `5m`, `24h`, `7d`.
 *
 * @returns seconds, at least 1; `undefined` when the text is anything else
 */
export function parseDuration(text: string): number | undefined {
  const match = /^(?<count>[1-9][0-9]{0,8})(?<unit>[smhd])$/.exec(text)
  const unit = match?.groups?.unit as keyof typeof secondsPerUnit | undefined
  if (unit === undefined) return undefined
  return Number(match?.groups?.count) * secondsPerUnit[unit]
}

/** The shortest text that `parseDuration` reads back as the same number of seconds. */
export function formatDuration(seconds: number): string {
  for (const unit of ['d', 'h', 'm'] as const) {
    if (seconds > 0 && seconds % secondsPerUnit[unit] === 0) return `${seconds / secondsPerUnit[unit]}${unit}`
  }
  return `${seconds}s`
}

/** A span for people, its two largest units: `23h 59m`, `6m 2s`. */
export function formatSpan(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds))
  const parts: string[] = []
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const count = Math.floor(rest / secondsPerUnit[unit])
    rest -= count * secondsPerUnit[unit]
    if (count > 0) parts.push(`${count}${unit}`)
  }
  return parts.length === 0 ? '0s' : parts.slice(0, 2).join(' ')
}
