/** The alerting rules in examples/, as far as tests need them: names of alerts, and what their expressions are made of. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './process.ts'

export interface Alert {
  readonly name: string
  readonly expression: string
  readonly severity: string
}

/** A metric in an expression, with the labels that are asked of it, each with the values that would do. */
export interface Selector {
  readonly metric: string
  readonly labels: ReadonlyMap<string, readonly string[]>
}

export const rulesFile = join(root, 'examples/prometheus/mayfly.rules.yaml')

/** @throws Error when an alert has not all that it needs, in the form that the file has */
export function readAlerts(text = readFileSync(rulesFile, 'utf8')): readonly Alert[] {
  return text
    .split(/^ {6}- alert: /m)
    .slice(1)
    .map((block) => {
      const name = /^\w+/.exec(block)?.[0]
      const [, folded, line] = /^ {8}expr: (?:\|-\n((?: {10}.*\n)+)|(.*)\n)/m.exec(block) ?? []
      const severity = /^ {8}labels: \{ severity: (\w+) \}$/m.exec(block)?.[1]
      const expression = folded ?? line
      if (name === undefined || expression === undefined || severity === undefined)
        throw new Error(`cannot be read: ${block}`)
      return { name, expression, severity }
    })
}

// Words of PromQL that are followed by no parenthesis, or by one with labels in it.
const words = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right', 'and', 'or', 'unless', 'offset'])

export function selectorsOf(expression: string): readonly Selector[] {
  const bare = expression.replaceAll(/\b(?:by|without|on|ignoring) \([^)]*\)/g, '')
  return [...bare.matchAll(/(?<![\w"[.])([a-zA-Z_:][\w:]*)(?!\w|\s*\()(?:\{([^}]*)\})?(?=([^"]*"[^"]*")*[^"]*$)/g)]
    .filter(([, name = '']) => !words.has(name))
    .map(([, metric = '', matchers = '']) => ({
      metric,
      labels: new Map(
        [...matchers.matchAll(/(\w+)(?:=~|!~|!=|=)"([^"]*)"/g)].map(([, label = '', value = '']) => [
          label,
          value.split('|'),
        ]),
      ),
    }))
}
