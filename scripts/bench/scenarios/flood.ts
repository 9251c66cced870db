/**
 * What an honest client feels while somebody guesses at credentials from fifty addresses. Both send at fixed rates, whatever
 * the server does. The first ten seconds are told apart: so long it takes until each address has failed a hundred times, and
 * its guesses are no longer checked.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { generateSecret } from '../../../src/client/client-secret.ts'
import { defaultCost, hashImportedSecret } from '../../../src/client/imported-secret.ts'
import { connections } from '../compare.ts'
import type { Load, LoadGenerator, LoadRequest } from '../load.ts'
import { requireSuccess } from '../load.ts'
import { apis, Installation, tokenForm, tokenRequest } from '../mayfly.ts'
import { atMost, type Bench, type Scenario } from '../scenario.ts'
import type { Server } from '../stage.ts'
import { median, shuffle } from '../statistics.ts'

const floodPerSecond = 500
const honestPerSecond = 200
const requestsMade = 300
/** Each of them sends ten guesses a second. */
const sources = Array.from({ length: 50 }, (_, i) => `127.0.1.${i + 1}`)
/** Until each address has passed its limit of a hundred, and some more. */
const onsetSeconds = 11

/** Whom the guesses name: a client with a generated secret, one with an imported one, one with a key, and none. */
const names = ['billing', 'legacy', 'machine', 'nobody'] as const

type Guess = (clientId: string, issuer: string) => LoadRequest | Promise<LoadRequest>

const attacker = await generateKeyPair('ES256')

/** What is guessed. Strings of our form cost a hash; others an argon2id check; assertions the check of a signature. */
const floods = {
  idle: undefined,
  'mfs_ strings': (clientId) => tokenRequest(clientId, generateSecret().secret.reveal()),
  'other strings': (clientId) => tokenRequest(clientId, randomBytes(16).toString('base64url')),
  'assertions of another key': assertionRequest,
} as const satisfies Record<string, Guess | undefined>

type Flood = keyof typeof floods

const onset = 'other strings, first 10 s'

interface Measured {
  readonly honest: Load
  readonly flood?: Load
}

export const flood: Scenario = {
  name: 'flood',
  title: `${floodPerSecond} wrong credentials a second from ${sources.length} addresses; an honest client that asks ${honestPerSecond} times a second`,
  byDefault: true,
  run: async (bench) => {
    const installation = await Installation.make(bench.stage)
    const honest = await installation.addClient('billing')
    const hash = await hashImportedSecret('a secret that a person chose', defaultCost)
    await installation.run('client', 'create', 'legacy', '--audience', apis.ES256, '--secret-hash', hash)
    await addMachine(installation)
    const server = await installation.serve(undefined)
    const [calm, rough] = [bench.startGenerator(), bench.startGenerator()]
    await calm.run({ kind: 'closed', url: server.url, requests: [honest], connections, seconds: bench.options.seconds })
    const loads = await measureAll(bench, { server, calm, rough, honest })
    await Promise.all([calm.end(), rough.end(), server.end()])
    return toResult(loads)
  },
}

/** A client that signs its assertions with a key of its own. */
async function addMachine(installation: Installation): Promise<void> {
  const { publicKey } = await generateKeyPair('ES256')
  const jwks = join(installation.folder, 'machine.json')
  writeFileSync(jwks, JSON.stringify({ keys: [await exportJWK(publicKey)] }))
  const method = ['--auth-method', 'private_key_jwt', '--jwks', jwks]
  await installation.run('client', 'create', 'machine', '--audience', apis.ES256, ...method)
}

interface Setting {
  readonly server: Server
  readonly calm: LoadGenerator
  readonly rough: LoadGenerator
  readonly honest: LoadRequest
}

async function measureAll(bench: Bench, setting: Setting): Promise<ReadonlyMap<string, readonly Measured[]>> {
  const { options, random, say } = bench
  const loads = new Map<string, Measured[]>()
  const seconds = 2 * options.seconds
  say(`  ${onset}`)
  for (let passed = 0; passed < onsetSeconds; passed += seconds) {
    loads.set(onset, [...(loads.get(onset) ?? []), await measure(setting, floods['other strings'], seconds)])
  }
  for (let round = 1; round <= options.rounds; round += 1) {
    say(`  round ${round} of ${options.rounds}`)
    for (const name of shuffle(Object.keys(floods) as Flood[], random)) {
      const measured = await measure(setting, floods[name], seconds)
      loads.set(name, [...(loads.get(name) ?? []), measured])
    }
  }
  return loads
}

async function measure(
  { server: { url }, calm, rough, honest }: Setting,
  guess: Guess | undefined,
  seconds: number,
): Promise<Measured> {
  const calmJob = { kind: 'paced', url, requests: [honest], perSecond: honestPerSecond, seconds } as const
  if (guess === undefined) return { honest: await calm.run(calmJob) }
  const guesses = Array.from({ length: requestsMade }, (_, i) => guess(names[i % names.length] ?? '', url))
  const requests = await Promise.all(guesses)
  const [honestLoad, floodLoad] = await Promise.all([
    calm.run(calmJob),
    rough.run({ kind: 'paced', url, requests, perSecond: floodPerSecond, seconds, sources }),
  ])
  if (Object.keys(floodLoad.statuses).some((status) => !['400', '401', '429', '503'].includes(status)))
    throw new Error(`a wrong secret was answered with ${JSON.stringify(floodLoad.statuses)}`)
  return { honest: honestLoad, flood: floodLoad }
}

/** A request whose assertion (RFC 7523) is in order but for the key that signed it. */
async function assertionRequest(clientId: string, issuer: string): Promise<LoadRequest> {
  const assertion = await new SignJWT({ jti: randomUUID() })
    .setProtectedHeader({ alg: 'ES256', typ: 'JWT' })
    .setIssuer(clientId)
    .setSubject(clientId)
    .setAudience(issuer)
    .setIssuedAt()
    .setExpirationTime('2m')
    .sign(attacker.privateKey)
  const form = new URLSearchParams(tokenForm)
  form.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
  form.set('client_assertion', assertion)
  return {
    method: 'POST',
    path: '/token',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: form.toString(),
  }
}

function toResult(loads: ReadonlyMap<string, readonly Measured[]>) {
  const of = (name: string, pick: (one: Measured) => number | undefined): number =>
    median((loads.get(name) ?? []).map((one) => pick(one) ?? Number.NaN))
  const p99 = (name: string): number => of(name, ({ honest }) => honest.p99Ms)
  for (const { honest } of [...loads.values()].flat()) requireSuccess(honest, 'Mayfly')
  const rows = [...Object.keys(floods), onset].map((name) => ({
    flood: name,
    'honest p50 ms': of(name, ({ honest }) => honest.p50Ms),
    'honest p99 ms': p99(name),
    'sent late by, p99 ms': of(name, ({ honest }) => honest.lateP99Ms),
    'p99 ms since due': of(name, ({ honest }) => honest.dueP99Ms),
    'guesses answered 400, 401': of(name, (one) => share(one.flood, '400', '401')),
    'guesses answered 429': of(name, (one) => share(one.flood, '429')),
    'guesses answered 503': of(name, (one) => share(one.flood, '503')),
    'guess p99 ms': of(name, (one) => one.flood?.p99Ms),
  }))
  const guessed = (Object.keys(floods) as Flood[]).filter((name) => floods[name] !== undefined)
  return {
    rows,
    goals: guessed.map((name) => atMost(`honest p99 at most 1.2 × idle, ${name}`, p99(name) / p99('idle'), 1.2)),
    notes: [
      'Requests leave at fixed times whether or not others were answered, so a stall counts for all that were asked in it. A latency counts from when its request left; how late the generator sent it, for want of a core, is shown beside it.',
      'The server is not kept on one core here: argon2id runs on threads beside the event loop, and has the cores that there are.',
      'The row of the first seconds is measured before the rounds: in it no address has passed the limit of 100 failures a minute yet.',
    ],
  }
}

function share(load: Load | undefined, ...statuses: readonly string[]): number | undefined {
  if (load === undefined) return undefined
  const all = Object.values(load.statuses).reduce((sum, count) => sum + count, 0)
  return statuses.reduce((sum, status) => sum + (load.statuses[status] ?? 0), 0) / all
}
