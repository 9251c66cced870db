/**
 * Secrets that come from another system and may have been chosen by a person: kept as argon2id (RFC 9106).
 *
 * What a check costs depends on the presented string alone, never on the client, or the time of a refusal would tell
 * which clients exist. So every string that is not a generated secret costs exactly one argon2id computation, on the
 * client's hash or on a dummy, or none when the store holds no imported secret at all; and all imported secrets of a
 * store have the same cost parameters. The computations share libuv's four threads with RS256 signing: at most one
 * less than there are cores run at a time, a few wait, and the rest is told to come back. Strings that were right before
 * wait in a line of their own, which goes first: a flood of guesses fills the other one.
 */
import { randomBytes } from 'node:crypto'
import { OAuthError } from '../oauth/errors.ts'

/** Cost parameters of argon2id: memory in KiB, passes, lanes (RFC 9106 section 3.1). */
export interface ArgonCost {
  readonly memoryKib: number
  readonly passes: number
  readonly lanes: number
}

/** The cost of secrets hashed here, unless the store already has imported secrets of another (OWASP's second choice). */
export const defaultCost: ArgonCost = { memoryKib: 19_456, passes: 2, lanes: 1 }

// A salt of 8 to 64 bytes and a hash of 16 to 64, in base64 without padding.
const phc =
  /^\$argon2id\$v=19\$m=(?<m>[1-9][0-9]{0,6}),t=(?<t>[1-9][0-9]{0,2}),p=(?<p>[1-9][0-9]?)\$(?<salt>[A-Za-z0-9+/]{11,86})\$(?<hash>[A-Za-z0-9+/]{22,86})$/

/** The cost parameters in a PHC string; `undefined` when it is not argon2id version 19 in that form. */
export function parseArgonHash(text: string): ArgonCost | undefined {
  const groups = phc.exec(text)?.groups
  if (groups === undefined || !isCanonical(groups.salt) || !isCanonical(groups.hash)) return undefined
  return { memoryKib: Number(groups.m), passes: Number(groups.t), lanes: Number(groups.p) }
}

// Base64 that another reader would not accept, or read differently, would make each check of it an error.
function isCanonical(part: string | undefined): boolean {
  return (
    Buffer.from(part ?? '', 'base64')
      .toString('base64')
      .replace(/=+$/, '') === part
  )
}

/**
 * Whether a cost is neither so low that a stolen database gives the secrets away nor so high that a handful of wrong
 * guesses stops the server: 7 MiB to 64 MiB of memory, 35,000 to 262,144 KiB passes in all, at most 4 lanes.
 */
export function isAcceptableCost({ memoryKib, passes, lanes }: ArgonCost): boolean {
  const work = memoryKib * passes
  return memoryKib >= 7_168 && memoryKib <= 65_536 && work >= 35_000 && work <= 262_144 && lanes <= 4
}

export function isSameCost(a: ArgonCost, b: ArgonCost): boolean {
  return a.memoryKib === b.memoryKib && a.passes === b.passes && a.lanes === b.lanes
}

/** How a cost is written in a PHC string. */
export function formatCost(cost: ArgonCost): string {
  return `m=${cost.memoryKib},t=${cost.passes},p=${cost.lanes}`
}

/** Hashes a secret for keeping, as a PHC string. */
export async function hashImportedSecret(secret: string, cost: ArgonCost): Promise<string> {
  const { hash } = await import('@node-rs/argon2')
  return hash(secret, { memoryCost: cost.memoryKib, timeCost: cost.passes, parallelism: cost.lanes })
}

/** How many argon2id computations may run and wait at a time. */
export interface CheckLimits {
  readonly running: number
  readonly waiting: number
}

/**
 * @param cores how many the machine has
 * @param processes how many share them
 */
export function checkLimitsFor(cores: number, processes = 1): CheckLimits {
  const running = Math.max(1, Math.floor((cores - 1) / processes))
  return { running, waiting: running * 8 }
}

/** Runs argon2id checks, a bounded number at a time. */
export class ImportedSecretChecker {
  readonly #limits: CheckLimits
  readonly #waiting: (() => void)[] = []
  readonly #waitingFirst: (() => void)[] = []
  #running = 0
  #dummy: { cost: ArgonCost; hash: string } | undefined

  constructor(limits: CheckLimits) {
    this.#limits = limits
  }

  /** How many checks run or wait. */
  get load(): number {
    return this.#running + this.#waitingFirst.length + this.#waiting.length
  }

  /**
   * Whether a presented string is the secret with this hash; without a hash, the same work and `false`.
   *
   * @param goesFirst whether it was right before
   * @throws OAuthError `secret_check_busy` at once when too many wait already
   */
  async matches(
    presented: string,
    argon2id: string | undefined,
    { goesFirst, ...cost }: ArgonCost & { readonly goesFirst?: boolean },
  ): Promise<boolean> {
    const stored = argon2id ?? this.#dummyOf(cost)
    await this.#enter(goesFirst ? this.#waitingFirst : this.#waiting)
    try {
      const { verify } = await import('@node-rs/argon2')
      // A hash that cannot be computed matches nothing; as an error it would tell its client from the others.
      return (await verify(stored, presented).catch(() => false)) && argon2id !== undefined
    } finally {
      this.#leave()
    }
  }

  #enter(line: (() => void)[]): Promise<void> | undefined {
    if (this.#running < this.#limits.running) {
      this.#running += 1
      return undefined
    }
    if (line.length >= this.#limits.waiting) throw new OAuthError('secret_check_busy')
    return new Promise((resolve) => line.push(resolve))
  }

  // The place of one that leaves goes to the next in line, so that nobody can slip in between.
  #leave(): void {
    const next = this.#waitingFirst.shift() ?? this.#waiting.shift()
    if (next === undefined) this.#running -= 1
    else next()
  }

  #dummyOf(cost: ArgonCost): string {
    if (this.#dummy === undefined || !isSameCost(this.#dummy.cost, cost)) {
      const part = (bytes: number): string => randomBytes(bytes).toString('base64').replaceAll('=', '')
      this.#dummy = { cost, hash: `$argon2id$v=19$${formatCost(cost)}$${part(16)}$${part(32)}` }
    }
    return this.#dummy.hash
  }
}
