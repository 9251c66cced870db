/** How much is done to a server, and by how many. */
export interface Plan {
  readonly seed: string
  /** SIGKILLs. */
  readonly cycles: number
  readonly database: 'sqlite' | 'postgres'
  /** Server processes on one database; one is killed at a time. */
  readonly servers: number
  readonly clients: number
  /** Workloads that ask at the same time, each with families of its own. */
  readonly actors: number
  /** The run ends after that, however many cycles are missing. */
  readonly maxMinutes: number
}

export const api = 'https://api.example.test'

/**
 * Settings of the servers: nothing expires by itself, so that whatever ends was ended; and clients that are disabled go on
 * asking, all from one address, and shall hear why.
 */
export const environment = {
  MAYFLY_REFRESH_TOKEN_IDLE_TTL: '6h',
  MAYFLY_REFRESH_TOKEN_MAX_TTL: '24h',
  MAYFLY_REFRESH_RETRY_WINDOW: '1h',
  MAYFLY_ACCESS_TOKEN_TTL: '1h',
  MAYFLY_LOG_LEVEL: 'warn',
  MAYFLY_RATE_LIMIT_FAILURES: '1000000',
} as const
