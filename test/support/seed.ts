import { randomInt } from 'node:crypto'

/** Where a random test begins. It stands in the test's name; `FAULT_SEED` gives one that was seen before. */
export const seed = Number(process.env.FAULT_SEED ?? randomInt(2 ** 31))

/** How often a test does its random thing: what the environment variable says, else `usual`. */
export function repetitions(variable: string, usual: number): number {
  const count = Number(process.env[variable] ?? usual)
  if (!Number.isInteger(count) || count < 1) throw new Error(`${variable} is not a number of repetitions`)
  return count
}

/** Random numbers that a seed repeats. */
export interface Random {
  /** At least 0, below 1. */
  next(): number
  /** A whole number from `low` on, below `high`. */
  between(low: number, high: number): number
  chance(probability: number): boolean
  pick<T>(from: readonly [T, ...T[]]): T
}

/** A source for one part of a test: `part` tells it from others of the same seed. Mulberry32. */
export function createRandom(part = 0): Random {
  let state = (seed + Math.imul(part, 0x9e3779b9)) | 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const between = (low: number, high: number): number => low + Math.floor(next() * (high - low))
  return {
    next,
    between,
    chance: (probability) => next() < probability,
    pick: (from) => from[between(0, from.length)] ?? from[0],
  }
}
