import { keyTimingOf } from '../config/keys.ts'
import type { KeyMaterial, RingChange } from '../key/key-store.ts'
import type { KeyRing } from '../key/ring.ts'
import type { RingClock, RingMoment } from '../key/ring-clock.ts'
import { isSigningAlg, type SigningAlg, signingAlgs } from '../key/signer.ts'
import type { SigningKeyFacts } from '../key/signing-key.ts'
import type { KeyTiming } from '../key/timing.ts'
import type { Store } from '../store/store.ts'
import { type CommandContext, CommandFailure, type OptionValues, UsageError } from './command.ts'
import { quote, textOption } from './values.ts'

/** The ring as a command sees it, without private keys. */
export interface RingView {
  readonly store: Store
  readonly material: KeyMaterial
  readonly clock: RingClock
  /** When it was read. */
  readonly moment: RingMoment
  readonly timing: KeyTiming
}

/** A ring whose private keys are open: new keys can be made for it. */
export interface OpenedRing extends RingView {
  readonly ring: KeyRing
}

/** The option of commands that work on the keys of one algorithm, or of all. */
export const algOption = { flags: '--alg <alg>', description: 'only keys of this algorithm (default: of each)' }

/** @throws CommandFailure when the database has no keys */
export async function viewRing(context: CommandContext): Promise<RingView> {
  const store = await context.openStore()
  const material = await store.readKeys()
  if (material === undefined) {
    throw new CommandFailure(
      `the database ${store.location} has no keys yet: \`mayfly serve\` or \`mayfly db migrate\` makes them`,
    )
  }
  const { RingClock } = await import('../key/ring-clock.ts')
  const clock = new RingClock(store.clock, material.ringMark)
  return { store, material, clock, moment: clock.moment(), timing: keyTimingOf(context.settings) }
}

/** @throws CommandFailure; KeyMaterialError when the master key is missing or does not open the ring */
export async function openRing(context: CommandContext): Promise<OpenedRing> {
  const view = await viewRing(context)
  const { readMasterKey } = await import('../key/master-key-file.ts')
  const { checkMasterKey } = await import('../key/provision.ts')
  const { KeyRingOpener } = await import('../key/ring.ts')
  const { masterKeyFile } = context.settings
  const master = checkMasterKey(readMasterKey(masterKeyFile), view.material, masterKeyFile)
  return { ...view, ring: await new KeyRingOpener(master).open(view.material) }
}

/** The algorithms that a command is for. @throws UsageError */
export function parseAlgs(options: OptionValues): readonly SigningAlg[] {
  const alg = textOption(options, 'alg')
  if (alg === undefined) return signingAlgs
  if (!isSigningAlg(alg)) {
    throw new UsageError(`${quote(alg)} is not a signing algorithm: it takes ${signingAlgs.join(' or ')}`)
  }
  return [alg]
}

/** The keys that a rotation is between. @throws CommandFailure when one of them is missing */
export function findPair(
  keys: readonly SigningKeyFacts[],
  alg: SigningAlg,
): { readonly active: SigningKeyFacts; readonly staged: SigningKeyFacts } {
  const active = keys.find((key) => key.alg === alg && key.state === 'active')
  const staged = keys.find((key) => key.alg === alg && key.state === 'staged')
  if (active === undefined) throw new CommandFailure(`no ${alg} key is active: put back a backup that has one`)
  if (staged === undefined) {
    throw new CommandFailure(`no ${alg} key is staged: \`mayfly key stage --alg ${alg}\` makes one`)
  }
  return { active, staged }
}

/** Changes the ring. @returns when that was. @throws CommandFailure when somebody else has changed it meanwhile */
export async function changeRing(
  { store, clock, moment, timing }: RingView,
  change: Pick<RingChange, 'moves' | 'adds' | 'reason'>,
  { actor }: Pick<CommandContext, 'actor'>,
): Promise<RingMoment> {
  // Somebody may have thought about the answer for long. That counts for nothing but dates: nobody has published anything.
  const at = { ...clock.moment(), running: moment.running }
  if (await store.changeRing({ ...change, at, timing }, actor)) return at
  throw new CommandFailure('the ring changed meanwhile and nothing was done: `mayfly key list` shows it as it is now')
}
