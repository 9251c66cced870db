/** Whether an issuer can do its work, check by check. */
import { keyTimingOf } from '../config/keys.ts'
import type { Check } from '../http/health.ts'
import { findOverdue } from '../key/timeline.ts'
import { describeError } from '../lib/log.ts'
import { regainedOffsetMilliseconds } from '../lib/shared-clock.ts'
import type { Parts } from './parts.ts'

/** All checks, for `/readyz`. */
export async function checkReadiness(parts: Parts, issuer: string, draining: boolean): Promise<readonly Check[]> {
  return [
    { name: 'accepting', ok: !draining, ...(draining ? { detail: 'shutting down' } : {}) },
    await attempt(parts, 'store', async () => {
      // A store that failed last time is ready when it can be written again, whether or not anybody asks for tokens.
      if (parts.events.failing) await parts.store.checkWritable()
      else await parts.store.readRegistrySequence()
    }),
    await attempt(parts, 'keys', async () => {
      const { ring } = await parts.registry.current()
      ring.activeSigner(parts.settings.signingAlg)
    }),
    await attempt(parts, 'issuer', async () => {
      const view = await parts.registry.current()
      if (view.issuer !== issuer) throw new Error('the database has another issuer')
    }),
    checkClock(parts),
    checkRotation(parts),
    await checkWitness(parts),
  ]
}

function checkClock({ store: { clock } }: Parts): Check {
  if (!clock.isOff) return { name: 'clock', ok: true }
  const seconds = Math.abs(clock.offsetMilliseconds / 1000).toFixed(1)
  const way = clock.offsetMilliseconds > 0 ? 'ahead of' : 'behind'
  const near = regainedOffsetMilliseconds / 1000
  return {
    name: 'clock',
    ok: false,
    detail: `${seconds} s ${way} the clock of the database: ready within ${near} s of it`,
  }
}

// Tokens are issued without it, and changes are made and in force; whoever asks for one is told what it lacks.
async function checkWitness({ store, events, log }: Parts): Promise<Check> {
  const check: Check = { name: 'witness', ok: true }
  if (!events.witnessFailing) return check
  try {
    await store.confirmWitness()
    events.witnessFailing = false
    log.info({}, 'witness written again')
    return check
  } catch {
    return { ...check, warning: 'changes are made, but the witness cannot be written; the log says why' }
  }
}

// Late rotations are no reason to send requests elsewhere: keys go on signing. People are told.
function checkRotation({ registry, ringClock, settings }: Parts): Check {
  const faults = findOverdue(registry.lastRing?.keys ?? [], ringClock.moment(), keyTimingOf(settings))
  return { name: 'rotation', ok: true, ...(faults.length === 0 ? {} : { warning: faults.join('; ') }) }
}

// A probe comes every few seconds: the log hears of a check when its outcome changes.
async function attempt({ log, failed }: Parts, name: string, run: () => Promise<void>): Promise<Check> {
  try {
    await run()
    if (failed.delete(name)) log.info({ check: name }, 'ready again')
    return { name, ok: true }
  } catch (error) {
    if (!failed.has(name)) log.error({ check: name, err: describeError(error) }, 'not ready')
    failed.add(name)
    return { name, ok: false, detail: 'failed; the log says why' }
  }
}
