/**
 * How many tokens a client may have in an hour. The count lies in one row a client and moves with the record of each token,
 * so it is exact whatever number of processes issue. Hours are those of the store's clock, which may be stepped:
 *
 *   it goes on into a later hour    the count begins anew
 *   it steps back                   the later hour goes on until the clock is there again: no hour is opened twice
 *   it is more than a day behind    the later hour was that of a wrong clock, and could be years away: the count goes on
 *                                   in the hour that it is now
 */

const hourMilliseconds = 3_600_000
/** How far a later hour may be ahead before it is that of a wrong clock. */
export const mostHoursAhead = 24
/** The share of a quota that people are told of. */
const warnedShare = 0.8

/** Tokens of a client in an hour; hours since the epoch. */
export interface HourlyCount {
  readonly hour: number
  readonly issued: number
}

/** The hour of a moment, in hours since the epoch. */
export function hourOf(now: number): number {
  return Math.floor(now / hourMilliseconds)
}

/** The count that holds now, by the last one that was written. */
export function countAt(last: HourlyCount | undefined, now: number): HourlyCount {
  const hour = hourOf(now)
  if (last === undefined || last.hour < hour) return { hour, issued: 0 }
  return last.hour - hour > mostHoursAhead ? { hour, issued: last.issued } : last
}

/** Until the hour of a count is over, whole seconds rounded up. That of a clock that has stepped back may be hours away. */
export function restOfHourSeconds(now: number, hour = Math.floor(now / hourMilliseconds)): number {
  return Math.max(1, Math.ceil(((hour + 1) * hourMilliseconds - now) / 1000))
}

/** Whether so many tokens are so much of a quota that people shall know. */
export function isNearQuota(issued: number, tokensPerHour: number): boolean {
  return issued >= warnedShare * tokensPerHour
}
