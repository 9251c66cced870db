/** The few numbers that figures are made of. */

/** The value below which a share of the values lies. Sorted input; NaN for none. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export function sort(values: Iterable<number>): Float64Array {
  return Float64Array.from(values).sort()
}

/** NaN for none. */
export function median(values: Iterable<number>): number {
  const sorted = sort(values)
  const upper = sorted[sorted.length >> 1] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[(sorted.length >> 1) - 1] ?? Number.NaN) + upper) / 2
}

/** Change of y for one of x, by least squares. */
export function slope(points: readonly { readonly x: number; readonly y: number }[]): number {
  const meanX = points.reduce((sum, { x }) => sum + x, 0) / points.length
  const meanY = points.reduce((sum, { y }) => sum + y, 0) / points.length
  const covariance = points.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0)
  return covariance / points.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0)
}

/** What a Mann-Whitney test says of two samples. */
export interface RankTest {
  /** The chance that a value of the first lies below one of the second; 0.5 when nothing tells them apart. */
  readonly chanceBelow: number
  /** How far that is from 0.5, in standard deviations; beyond ±3.3 once in a thousand by chance. */
  readonly z: number
}

/** Mann-Whitney by the normal approximation, equal values sharing their rank. For samples of 20 and more. */
export function compareRanks(first: readonly number[], second: readonly number[]): RankTest {
  const all = [
    ...first.map((value) => ({ value, isFirst: true })),
    ...second.map((value) => ({ value, isFirst: false })),
  ].sort((a, b) => a.value - b.value)
  let rankSum = 0
  let ties = 0
  for (let from = 0; from < all.length; ) {
    let to = from
    while (to < all.length && all[to]?.value === all[from]?.value) to += 1
    const firsts = all.slice(from, to).filter(({ isFirst }) => isFirst).length
    rankSum += firsts * ((from + 1 + to) / 2)
    ties += (to - from) ** 3 - (to - from)
    from = to
  }
  const pairs = first.length * second.length
  const above = rankSum - (first.length * (first.length + 1)) / 2
  const count = all.length
  const variance = (pairs / 12) * (count + 1 - ties / (count * (count - 1)))
  return { chanceBelow: 1 - above / pairs, z: (pairs / 2 - above) / Math.sqrt(variance) }
}

/** Random numbers from 0 to below 1 that a seed decides (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A shuffled copy (Fisher-Yates). */
export function shuffle<T>(items: readonly T[], random: () => number): T[] {
  const copy = [...items]
  for (let i = copy.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1))
    ;[copy[i], copy[j]] = [copy[j] as T, copy[i] as T]
  }
  return copy
}
