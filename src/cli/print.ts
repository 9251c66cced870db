import { formatTimestamp } from '../lib/clock.ts'
import type { Printed } from './command.ts'

type Row = Readonly<Record<string, unknown>>

/** One object: a line for each member. */
export function printObject(json: Row, more: readonly string[] = []): Printed {
  const rows = Object.entries(json).filter(([, value]) => value !== undefined)
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}  ${cell(value)}`)
  return { json, text: [...lines, ...more.map(harmlessLine)].join('\n') }
}

/** A list: a table with the given columns; the JSON has every member. */
export function printList(rows: readonly Row[], columns: readonly string[], none: string): Printed {
  if (rows.length === 0) return { json: [], text: none }
  const table = [
    columns.map((column) => column.toUpperCase()),
    ...rows.map((row) => columns.map((column) => cell(row[column]))),
  ]
  const widths = columns.map((_, i) => Math.max(...table.map((line) => line[i]?.length ?? 0)))
  const lines = table.map((line) =>
    line
      .map((text, i) => text.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  return { json: rows, text: lines.join('\n') }
}

// Names and the like come from people, audit details from strangers: control characters must not reach a terminal.
function cell(value: unknown): string {
  if (value === undefined || value === null) return '-'
  const text = Array.isArray(value)
    ? value.join(' ')
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value)
  return text === '' ? '-' : harmlessLine(text)
}

function harmlessLine(text: string): string {
  return text.replace(/\p{C}/gu, '?')
}

/** Milliseconds since the epoch as RFC 3339, absent as `null`. */
export function timestamp(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : formatTimestamp(milliseconds)
}

/** A number of bytes for people. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let rest = bytes
  let unit = 0
  while (rest >= 1000 && unit < units.length - 1) {
    rest /= 1000
    unit += 1
  }
  return `${unit === 0 ? Math.round(rest) : rest.toFixed(1)} ${units[unit]}`
}
