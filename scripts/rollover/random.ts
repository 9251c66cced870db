/** Every decision of a run comes from here, so that a seed brings them back. */
export interface Random {
  /** At least 0, less than 1. */
  unit(): number
  between(from: number, to: number): number
  /** A whole number from 0 up to, and without, `count`. */
  below(count: number): number
  pick<T>(from: readonly T[]): T
  shuffle<T>(of: readonly T[]): T[]
  /** Another stream of the same seed: what one part of a run draws does not move what another draws. */
  fork(name: string): Random
}

/** mulberry32: 32 bits of state, enough to choose moments and victims. */
export function createRandom(seed: string): Random {
  let state = hash(seed)
  const unit = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const below = (count: number): number => Math.floor(unit() * count)
  const pick = <T>(from: readonly T[]): T => {
    const chosen = from[below(from.length)]
    if (chosen === undefined) throw new Error('nothing to choose from')
    return chosen
  }
  return {
    unit,
    below,
    pick,
    between: (from, to) => from + unit() * (to - from),
    shuffle: (of) =>
      of
        .map((value) => ({ value, order: unit() }))
        .toSorted((a, b) => a.order - b.order)
        .map(({ value }) => value),
    fork: (name) => createRandom(`${seed}/${name}`),
  }
}

// FNV-1a.
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value
}
