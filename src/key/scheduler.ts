/**
 * Does what is due to the ring, in every process. A tick looks at the ring as it is now, asks `dueTransitions`, and makes
 * each transition with one conditional act. Between two steps:
 *
 *   several processes tick at once    one act finds the keys in the states it names; the others change nothing
 *   a process is paused before its act    likewise; and the store refuses an act that waited, for its moment is over
 *   it dies before its act            the key that it made was in no store: nobody has it
 *   it dies after its act             the ring is as the act left it, whole
 *   the store cannot be written       nothing happens; the next tick tries again
 *
 * Whoever signed with the key that retires has its commit refused by the fence, and signs again with the new one.
 */
import { describeError, type Log } from '../lib/log.ts'
import type { KeyStore } from './key-store.ts'
import { makeSigningKey } from './make-key.ts'
import type { KeyRing } from './ring.ts'
import { type RingClock, type RingMoment, saveMilliseconds } from './ring-clock.ts'
import { dueTransitions, leadLeftMilliseconds, rotationDueAt, type Transition } from './rotate.ts'
import type { SigningAlg } from './signer.ts'
import type { NewSigningKey } from './signing-key.ts'
import type { KeyTiming } from './timing.ts'

// RSA keys take up to a second to make: the next one is made before it is needed.
const spareMilliseconds = 60_000

// A process that dies again and again, each time before it has saved, would take no key any further. So it saves at first
// after this time, then after twice as long each time, up to half of what may be lost.
const firstSaveMilliseconds = 400

export interface SchedulerParts {
  readonly store: KeyStore
  /** The ring as it was when the clock was started on its mark. */
  readonly ring: KeyRing
  readonly clock: RingClock
  readonly timing: KeyTiming
  readonly log: Log
  /** The ring as of now. @throws StoreUnavailable, KeyMaterialError */
  readRing(): Promise<KeyRing>
  /** How a key is made; a test that needs many makes cheap ones. */
  readonly makeKey?: typeof makeSigningKey
}

export class KeyScheduler {
  readonly #parts: SchedulerParts
  readonly #spares = new Map<SigningAlg, Promise<NewSigningKey>>()
  #savedRunning: number
  #saveAfter = firstSaveMilliseconds
  #seen: string

  constructor(parts: SchedulerParts) {
    this.#parts = parts
    this.#seen = statesOf(parts.ring)
    this.#savedRunning = parts.clock.moment().running
  }

  /** Makes every transition that is due. @throws StoreUnavailable, KeyMaterialError */
  async tick(): Promise<void> {
    const { clock, timing } = this.#parts
    const ring = await this.#parts.readRing()
    clock.adopt(ring.mark)
    this.#followChanges(ring)
    const moment = clock.moment()
    const due = dueTransitions(ring.keys, moment, timing)
    for (const transition of due) await this.#make(transition, ring)
    const changed = due.length === 0 ? ring : await this.#parts.readRing()
    this.#followChanges(changed)
    this.#prepare(changed, moment)
    if (moment.running - this.#savedRunning >= this.#saveAfter) await this.save()
  }

  /** Stores how far both clocks are. @throws StoreUnavailable */
  async save(): Promise<void> {
    const { clock, store } = this.#parts
    const mark = clock.mark()
    clock.adopt(await store.noteRingMark(mark))
    this.#savedRunning = mark.running
    this.#saveAfter = Math.min(2 * this.#saveAfter, saveMilliseconds / 2)
  }

  // At once, and after the own changes too: what runs before the ring is looked at again would be lost.
  #followChanges(ring: KeyRing): void {
    const seen = statesOf(ring)
    if (seen !== this.#seen) this.#parts.clock.recount(ring.mark)
    this.#seen = seen
  }

  async #make(transition: Transition, ring: KeyRing): Promise<void> {
    const { store, clock, timing, log } = this.#parts
    const moves = movesOf(transition)
    const adds =
      transition.kind === 'retire' ? [] : [{ ...(await this.#spare(transition.alg, ring)), state: 'staged' as const }]
    // Not the moment of the tick: making a key takes its time, and the new one is published from now on.
    const at = clock.moment()
    const done = await store.changeRing({ moves, adds, at, timing, reason: 'schedule' }, 'server')
    if (!done) return
    if (adds.length > 0) this.#spares.delete(transition.alg)
    log.info({ ...transition, ...(adds[0] === undefined ? {} : { staged: adds[0].kid }) }, 'key ring changed')
  }

  #prepare(ring: KeyRing, moment: RingMoment): void {
    for (const active of ring.keys.filter((key) => key.state === 'active')) {
      const staged = ring.keys.find((key) => key.state === 'staged' && key.alg === active.alg)
      if (staged === undefined) continue
      const due = rotationDueAt(active, this.#parts.timing) - moment.now
      const ripe = leadLeftMilliseconds(staged, moment, this.#parts.timing)
      if (Math.max(due, ripe) > spareMilliseconds) continue
      this.#spare(active.alg, ring).catch((error: unknown) =>
        this.#parts.log.warn({ err: describeError(error) }, 'a signing key could not be made ahead'),
      )
    }
  }

  // A key made under a root that has been replaced meanwhile would not open.
  async #spare(alg: SigningAlg, ring: KeyRing): Promise<NewSigningKey> {
    const { root, storeId } = ring.root
    const { makeKey = makeSigningKey } = this.#parts
    const spare = this.#spares.get(alg) ?? makeKey(root, storeId, alg)
    this.#spares.set(alg, spare)
    try {
      const key = await spare
      if (key.rootVersion === root.version) return key
    } catch (error) {
      this.#spares.delete(alg)
      throw error
    }
    this.#spares.delete(alg)
    return this.#spare(alg, ring)
  }
}

function statesOf({ keys }: KeyRing): string {
  return keys.map(({ kid, state }) => `${kid} ${state}`).join()
}

function movesOf(transition: Transition) {
  switch (transition.kind) {
    case 'stage':
      return []
    case 'rotate':
      return [
        { kid: transition.from, from: 'active' as const, to: 'retiring' as const },
        { kid: transition.to, from: 'staged' as const, to: 'active' as const },
      ]
    case 'retire':
      return [{ kid: transition.kid, from: 'retiring' as const, to: 'retired' as const }]
  }
}
