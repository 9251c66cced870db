/** What a run is: its size, and the settings of its servers, which lie as near to the forbidden as the start allows. */
import { propagationSeconds } from '../../src/key/timing.ts'

/** Something that is broken on purpose, to see that the rig finds it. */
export const sabotages = ['lead', 'cache'] as const

/**
 * `lead`: the clock of the key ring runs four times too fast, so that keys sign before they have been published for
 * their lead. `cache`: some verifiers keep the JWKS for longer than the lead, and do not look again.
 */
export type Sabotage = (typeof sabotages)[number]

export interface Plan {
  readonly database: 'sqlite' | 'postgres'
  readonly seed: string
  /** Rotations of both algorithms together. */
  readonly rollovers: number
  /** It ends after this time of the machine, however far it is. */
  readonly maxMinutes: number
  /** How much faster than the machine's clock time runs, at the most. */
  readonly speed: number
  readonly servers: number
  readonly verifierProcesses: number
  readonly verifiers: number
  /** Real seconds, of all requesters together. */
  readonly tokensPerSecond: number
  /** Servers killed, and servers paused, spread over the run. */
  readonly kills: number
  readonly pauses: number
  readonly sabotage?: Sabotage
}

// As short as the skew: the shorter a lead is against it, the more rollovers go into an hour without the machine's hiccups
// becoming longer than it.
const maxAgeSeconds = 60
const skewSeconds = 60
const leadSeconds = maxAgeSeconds + skewSeconds + propagationSeconds

/** What the servers are told, and the checker holds them to. Seconds. */
export const rules = {
  maxAgeSeconds,
  skewSeconds,
  leadSeconds,
  intervalSeconds: leadSeconds,
  tokenSeconds: 120,
} as const

export type Rules = { readonly [name in keyof typeof rules]: number }

/**
 * The most at which a hiccup of the machine cannot look like a broken rule: an act on the ring may take effect a second of
 * the machine after it was dated, and between lead and max-age lie skew and propagation.
 */
export const safeSpeed = skewSeconds

/** An API for each algorithm. */
export const audiences = { ES256: 'https://es.example.test', RS256: 'https://rs.example.test' } as const

// Within the tolerated skew.
const offsetsSeconds = [0, 45, -45, 0] as const

/** The kinds of verifiers that people run. The last is sabotage: nobody is promised that it works. */
export const verifierKinds = [
  'jose createRemoteJWKSet',
  'jwks-rsa + jsonwebtoken',
  'hono jwk',
  'max-age, looks again for an unknown kid',
  'max-age, never looks again',
  'three times max-age, never looks again',
] as const

export type VerifierKind = (typeof verifierKinds)[number]

const soundKinds = verifierKinds.slice(0, -1)

/** The kinds of the verifiers of each process: as many of one as of another, as far as the clock of the process lets them. */
export function kindsOf(plan: Plan): readonly (readonly VerifierKind[])[] {
  const kinds = plan.sabotage === 'cache' ? verifierKinds : soundKinds
  const processes = Array.from({ length: plan.verifierProcesses }, (): VerifierKind[] => [])
  for (let i = 0; i < plan.verifiers; i += 1) {
    const own = processes[i % plan.verifierProcesses]
    const able = kinds.filter((kind) => kind !== 'hono jwk' || offsetSecondsOf(i % plan.verifierProcesses) >= 0)
    own?.push(able[own.length % able.length] ?? 'hono jwk')
  }
  return processes
}

/** By how many seconds the clock of a process of verifiers is wrong. Hono's middleware has no leeway: it runs where time is not behind. */
export function offsetSecondsOf(process: number): number {
  return offsetsSeconds[process % offsetsSeconds.length] ?? 0
}

/** The environment of a server. */
export function serverEnvironment(issuer: string): Readonly<Record<string, string>> {
  return {
    MAYFLY_ISSUER: issuer,
    MAYFLY_PORT: '0',
    MAYFLY_LOG_LEVEL: 'info',
    MAYFLY_ACCESS_TOKEN_TTL: `${rules.tokenSeconds}s`,
    MAYFLY_ACCESS_TOKEN_MAX_TTL: `${rules.tokenSeconds}s`,
    MAYFLY_JWKS_MAX_AGE: `${rules.maxAgeSeconds}s`,
    MAYFLY_CLOCK_SKEW: `${rules.skewSeconds}s`,
    MAYFLY_KEY_LEAD: `${rules.leadSeconds}s`,
    MAYFLY_KEY_ROTATION_INTERVAL: `${rules.intervalSeconds}s`,
    MAYFLY_AUDIT_ISSUANCE_RETENTION: '3650d',
    MAYFLY_AUDIT_RETENTION: '3650d',
  }
}

/** What a server process is started with. */
export interface ServerOrder {
  readonly folder: string
  readonly environment: Readonly<Record<string, string>>
  /** The file that time is read from. */
  readonly time: string
  /** By what factor the clock of its key ring is too fast. */
  readonly ringFactor: number
}

/** What a process of verifiers is started with. */
export interface VerifierOrder {
  readonly issuer: string
  readonly time: string
  readonly offsetSeconds: number
  /** The kind of each verifier, by its number in this process. */
  readonly kinds: readonly VerifierKind[]
}
