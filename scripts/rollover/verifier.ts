/** A process of verifiers: gets tokens with the moments at which each of its verifiers looks at them, and says how that went. */
import { FastClock, installClock } from './fast-clock.ts'
import type { VerifierOrder } from './plan.ts'
import { receive, send } from './process.ts'
import type { Verify } from './verifier-kinds.ts'

/** A token, and who looks at it when. */
export interface Delivery {
  readonly token: string
  readonly kid: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly visits: readonly { readonly verifier: number; readonly at: number }[]
}

/** A live token that a verifier did not take. */
export interface Failure {
  readonly kind: string
  readonly kid: string
  readonly error: string
  /** Seconds of its life that were left, by the clock of the verifier. */
  readonly leftSeconds: number
  readonly offsetSeconds: number
}

export type VerifierReport =
  | { readonly type: 'ready' }
  | { readonly type: 'failure'; readonly failure: Failure }
  | { readonly type: 'done'; readonly verified: Readonly<Record<string, number>>; readonly tooLate: number }

const maxWaitMilliseconds = 250

const order = JSON.parse(process.argv[2] ?? '{}') as VerifierOrder
const trueClock = new FastClock(order.time)
const clock = new FastClock(order.time, { offset: order.offsetSeconds * 1000 })
installClock(clock)
const { makeVerifier } = await import('./verifier-kinds.ts')

const verified: Record<string, number> = {}
let tooLate = 0
let pending = 0
let isLast = false

const verifiers = order.kinds.map((kind): { kind: string; verify: Verify } => {
  verified[kind] = 0
  return { kind, verify: makeVerifier[kind](order.issuer) }
})

/** The token is alive for as long as the verifier's own clock says so, wrong as it may be. */
async function visit({ token, kid, expiresAt }: Delivery, verifier: number): Promise<void> {
  const { kind, verify } = verifiers[verifier] ?? {}
  if (kind === undefined || verify === undefined) throw new Error(`there is no verifier ${verifier}`)
  if (clock.nowMilliseconds() >= expiresAt) {
    tooLate += 1
    return
  }
  try {
    await verify(token)
    verified[kind] = (verified[kind] ?? 0) + 1
  } catch (error) {
    const leftSeconds = (expiresAt - clock.nowMilliseconds()) / 1000
    // It died while it was looked at.
    if (leftSeconds <= 0) tooLate += 1
    else
      send({
        type: 'failure',
        failure: { kind, kid, error: describe(error), leftSeconds, offsetSeconds: order.offsetSeconds },
      })
  }
}

function describe(error: unknown): string {
  return error instanceof Error
    ? `${error.name}: ${error.message}`.replace(/ey[\w-]+\.[\w-]+\.[\w-]+/g, 'TOKEN')
    : String(error)
}

async function look(delivery: Delivery, verifier: number): Promise<void> {
  await visit(delivery, verifier)
  pending -= 1
  finish()
}

// Time may have become slower or faster meanwhile: then it waits again.
function lookAt(delivery: Delivery, verifier: number, at: number): void {
  const left = at - trueClock.nowMilliseconds()
  if (left <= 0) void look(delivery, verifier)
  else
    setTimeout(() => lookAt(delivery, verifier, at), Math.min(maxWaitMilliseconds, trueClock.toRealMilliseconds(left)))
}

function finish(): void {
  if (!isLast || pending > 0) return
  // The rig ends this process when it has heard that.
  send({ type: 'done', verified, tooLate })
}

receive<Delivery | 'finish'>((message) => {
  if (message === 'finish') {
    isLast = true
    finish()
    return
  }
  for (const { verifier, at } of message.visits) {
    pending += 1
    lookAt(message, verifier, at)
  }
})
send({ type: 'ready' })
