/** What the inside may say to the operator's log. Fields are plain values; never a token, a secret or a header. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** For programs and tests that keep no log. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

const maxDepth = 4

/**
 * An error as the log may show it: its name, message and code, where it was thrown, and the same of its causes.
 * No stack trace, which would carry source text of every caller.
 */
export function describeError(error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { type: typeof error }
  const at = error.stack?.split('\n').find((line) => line.trimStart().startsWith('at '))
  return {
    type: error.name,
    message: error.message,
    ...('code' in error ? { code: error.code } : {}),
    ...(at === undefined ? {} : { at: at.trim().slice(3) }),
    ...(error.cause === undefined || depth === maxDepth ? {} : { cause: describeError(error.cause, depth + 1) }),
  }
}
