/** Results as a person reads them: Markdown tables, which are readable in a terminal too. */
import type { Cell, Scenario, ScenarioResult } from './scenario.ts'

export function formatResult({ name, title }: Scenario, { rows, goals, notes }: ScenarioResult): string {
  return [
    `### ${name}: ${title}`,
    '',
    ...formatTable(rows),
    '',
    ...goals.map(({ goal, value, met }) => `- ${met ? 'met' : '**not met**'}: ${goal} (${formatNumber(value)})`),
    ...notes.map((note) => `- ${note}`),
    '',
  ].join('\n')
}

function formatTable(rows: ScenarioResult['rows']): string[] {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  const cells = [names, ...rows.map((row) => names.map((name) => formatCell(row[name])))]
  const widths = names.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)))
  const [head = '', ...body] = cells.map(
    (line) => `| ${line.map((cell, i) => pad(cell, widths[i] ?? 0, i)).join(' | ')} |`,
  )
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(Math.max(1, width - 1))}:`))
  return [head, `| ${rule.join(' | ')} |`, ...body]
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 ? cell.padEnd(width) : cell.padStart(width)
}

function formatCell(cell: Cell): string {
  return typeof cell === 'number' ? formatNumber(cell) : (cell ?? '')
}

// Three digits that mean something; more would pretend.
function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-'
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return String(Math.round(value))
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}
