import { z } from 'zod/mini'

const strings = z.array(z.string())

/** A JSON column that holds an array of strings. @throws when the row was written by something else */
export function parseStrings(column: string): readonly string[] {
  return strings.parse(JSON.parse(column))
}

/** Drops `null`s, which is how SQL says that an optional member is absent. */
export function present<T extends object>(row: T): { [K in keyof T]?: Exclude<T[K], null> } {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)) as {
    [K in keyof T]?: Exclude<T[K], null>
  }
}
