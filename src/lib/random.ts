import { randomFillSync } from 'node:crypto'

// A call into the system's generator costs a microsecond whatever it fetches, so bytes are fetched a page at a time.
const pool = Buffer.alloc(4096)
let used = pool.length

/**
 * Unpredictable bytes from the operating system's generator. The result is a view into a pool: read it at once,
 * do not keep it.
 */
export function randomView(length: number): Buffer {
  if (used + length > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const view = pool.subarray(used, used + length)
  used += length
  return view
}
