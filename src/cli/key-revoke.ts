import type { RingChange } from '../key/key-store.ts'
import { leadLeftMilliseconds } from '../key/rotate.ts'
import { signingAlgs } from '../key/signer.ts'
import type { SigningKeyFacts } from '../key/signing-key.ts'
import { type Command, type CommandContext, CommandFailure } from './command.ts'
import { changeRing, type OpenedRing, openRing } from './open-ring.ts'
import { printObject, timestamp } from './print.ts'
import { quote } from './values.ts'

/** What jose's `createRemoteJWKSet` and jwks-rsa keep a key for, whatever `Cache-Control` says. */
const libraryCacheSeconds = 600

type Plan = Pick<RingChange, 'moves' | 'adds'> & {
  /** Keys that sign from now on and may be missing in a verifier's copy. */
  readonly unseen: readonly string[]
}

export const keyRevoke: Command = {
  name: 'key revoke',
  summary: 'an emergency: distrust a signing key at once, and let the staged one sign',
  arguments: [{ name: '<kid>', description: 'the key that somebody else may have' }],
  options: [
    {
      flags: '--fresh',
      description: 'the whole ring may be known: distrust every key, staged ones too, and sign with new ones at once',
    },
  ],
  example: 'mayfly key revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
  changes: true,
  destroys: true,
  async run(context, [kid = ''], options) {
    const fresh = options.fresh === true
    const opened = await openRing(context)
    const bad = findKey(await opened.store.listKeys(), kid, fresh)
    await context.confirm(
      fresh
        ? 'Distrust every signing key at once, and with it every token?'
        : `Distrust the ${bad.alg} key ${kid} and every token of it?`,
    )
    const plan = fresh ? await planFresh(opened, bad) : await planOne(opened, bad)
    const { now } = await changeRing(opened, { ...plan, reason: fresh ? 'emergency_fresh' : 'emergency' }, context)
    return report(opened, plan, now, context)
  },
}

// One that is revoked already is where it is learnt that the others must be too.
function findKey(keys: readonly SigningKeyFacts[], kid: string, fresh: boolean): SigningKeyFacts {
  const found = keys.find((key) => key.kid === kid)
  if (found === undefined)
    throw new CommandFailure(`there is no key ${quote(kid)}: \`mayfly key list\` shows what there is`)
  if (found.state === 'compromised' && !fresh)
    throw new CommandFailure(`the key ${kid} is revoked already: nothing was changed`)
  return found
}

async function planOne({ ring, moment, timing }: OpenedRing, bad: SigningKeyFacts): Promise<Plan> {
  const { makeSigningKey } = await import('../key/make-key.ts')
  const { root, storeId } = ring.root
  const make = () => makeSigningKey(root, storeId, bad.alg)
  const distrust = { kid: bad.kid, from: bad.state, to: 'compromised' as const }
  if (bad.state === 'staged') {
    return { moves: [distrust], adds: [{ ...(await make()), state: 'staged' }], unseen: [] }
  }
  if (bad.state !== 'active') return { moves: [distrust], adds: [], unseen: [] }
  const next = ring.keys.find((key) => key.alg === bad.alg && key.state === 'staged')
  const staged = { ...(await make()), state: 'staged' as const }
  if (next === undefined) {
    const active = { ...(await make()), state: 'active' as const }
    return { moves: [distrust], adds: [active, staged], unseen: [active.kid] }
  }
  // Here it counts who can have it, not for how long it was to be announced.
  const isSeen = leadLeftMilliseconds(next, moment, { ...timing, leadSeconds: 0 }) <= 0
  return {
    moves: [distrust, { kid: next.kid, from: 'staged', to: 'active' }],
    adds: [staged],
    unseen: isSeen ? [] : [next.kid],
  }
}

async function planFresh({ ring }: OpenedRing, bad: SigningKeyFacts): Promise<Plan> {
  const { makeSigningKey } = await import('../key/make-key.ts')
  const { root, storeId } = ring.root
  const all = [...ring.keys, ...(bad.state === 'retired' ? [bad] : [])]
  const states = signingAlgs.flatMap((alg) => [
    { alg, state: 'active' as const },
    { alg, state: 'staged' as const },
  ])
  const adds = await Promise.all(
    states.map(async ({ alg, state }) => ({ ...(await makeSigningKey(root, storeId, alg)), state })),
  )
  return {
    moves: all.map(({ kid, state }) => ({ kid, from: state, to: 'compromised' as const })),
    adds,
    unseen: adds.filter((key) => key.state === 'active').map((key) => key.kid),
  }
}

function report({ ring }: OpenedRing, { moves, adds, unseen }: Plan, now: number, context: CommandContext) {
  const revoked = moves.filter((move) => move.to === 'compromised').map((move) => move.kid)
  const signing = [
    ...moves.filter((move) => move.to === 'active').map((move) => move.kid),
    ...adds.filter((key) => key.state === 'active').map((key) => key.kid),
  ]
  const maxAge = Math.max(0, ...ring.keys.map((key) => key.maxAgeSeconds))
  const until = (seconds: number): string | null => timestamp(now + seconds * 1000)
  const json = {
    revoked,
    signing,
    staged: adds.filter((key) => key.state === 'staged').map((key) => key.kid),
    revoked_at: timestamp(now),
    trusted_until_by_max_age: until(maxAge),
    trusted_until_by_libraries: until(Math.max(maxAge, libraryCacheSeconds)),
    unseen,
    refused_until: unseen.length === 0 ? null : until(maxAge),
  }
  return printObject(json, ['', ...explain(json, maxAge), ...advise(context, unseen)])
}

function explain(
  json: { trusted_until_by_max_age: string | null; trusted_until_by_libraries: string | null },
  maxAge: number,
) {
  return [
    'The JWKS is without it from the next request on. Until a verifier asks for the JWKS again it goes on trusting what it has:',
    `  one that obeys max-age (${maxAge} s)                      until ${json.trusted_until_by_max_age}`,
    `  jose createRemoteJWKSet, jwks-rsa (10 min of their own)  until ${json.trusted_until_by_libraries}`,
    '  one that pins keys, or was given a copy                  until somebody changes it: `mayfly key export` has the new keys',
    'To end it sooner, restart the verifiers.',
  ]
}

function advise({ program }: CommandContext, unseen: readonly string[]): readonly string[] {
  if (unseen.length === 0) return []
  return [
    '',
    `What signs now (${unseen.join(', ')}) may be missing in copies of the JWKS that are kept: a verifier that does not look again`,
    'for an unknown kid refuses new tokens until its copy ends (`refused_until`); jose and jwks-rsa look again, at the most 30 s later.',
    `\`${program} key list\` shows the ring as it is now.`,
  ]
}
