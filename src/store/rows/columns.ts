import { z } from 'zod/mini'
import { type Confirmation, readConfirmation } from '../../oauth/confirmation.ts'

const strings = z.array(z.string())

/** A JSON column that holds an array of strings. @throws when the row was written by something else */
export function parseStrings(column: string): readonly string[] {
  return strings.parse(JSON.parse(column))
}

/** A column that holds what a token is bound to. @throws when the row was written by something else */
export function parseConfirmation(column: string | null): { readonly confirmation?: Confirmation } {
  if (column === null) return {}
  const confirmation = readConfirmation(JSON.parse(column))
  // A token that is bound to something unknown must not pass for one that is bound to nothing.
  if (confirmation === undefined) throw new Error('a confirmation that is none')
  return { confirmation }
}

/** Drops `null`s, which is how SQL says that an optional member is absent. */
export function present<T extends object>(row: T): { [K in keyof T]?: Exclude<T[K], null> } {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)) as {
    [K in keyof T]?: Exclude<T[K], null>
  }
}
