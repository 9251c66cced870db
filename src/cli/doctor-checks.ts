/** What `mayfly doctor` looks at. Each check ends in findings, and each finding that is not good says what to do. */
import { readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { KeyMaterial } from '../key/key-store.ts'
import { formatTimestamp } from '../lib/clock.ts'
import { formatSpan } from '../lib/duration.ts'
import type { CommandContext } from './command.ts'
import type { RingView } from './open-ring.ts'
import { formatBytes } from './print.ts'
import { describeRemains } from './remains.ts'

/** One finding. A `fault` must be mended; a `warning` will become one, or may be meant. */
export interface Finding {
  readonly check:
    | 'files'
    | 'database'
    | 'witness'
    | 'master key'
    | 'signing keys'
    | 'clock'
    | 'issuer'
    | 'secrets'
    | 'clients'
    | 'size'
    | 'workers'
  readonly status: 'ok' | 'warning' | 'fault'
  readonly detail: string
}

const issuerTimeoutMilliseconds = 3_000
const clockToleranceSeconds = 5
const maxDocumentBytes = 64 * 1024
const soonSeconds = 14 * 86_400
const maxSecretsShown = 20
const daySeconds = 86_400

/** Who can read and write the files. */
export async function checkFiles(context: CommandContext, { store }: RingView): Promise<readonly Finding[]> {
  const { databasePath, masterKeyFile } = context.settings
  const { openFiles } = await store.readUsage(context.now())
  const folder = dirname(masterKeyFile)
  const faults: Finding[] = openFiles.map((file) => ({
    check: 'files',
    status: 'warning',
    detail: `${file} can be read by others than its owner, and the audit trail is nobody's business: run \`chmod go= ${file}\``,
  }))
  if ((statSync(folder, { throwIfNoEntry: false })?.mode ?? 0) & 0o002) {
    faults.push({
      check: 'files',
      status: 'fault',
      detail: `everybody can write in ${folder}, and so replace the master key: run \`chmod o-w ${folder}\``,
    })
  }
  faults.push(
    ...leftKeys(masterKeyFile).map((file) => ({
      check: 'files' as const,
      status: 'warning' as const,
      detail: `${file} was left by a process that was killed, and may hold the master key: remove it`,
    })),
  )
  if (dirname(databasePath) === folder) {
    faults.push({
      check: 'files',
      status: 'warning',
      detail: `the master key lies beside the database in ${folder}: a copy of that folder has both; keep them apart`,
    })
  }
  return faults.length > 0 ? faults : [{ check: 'files', status: 'ok', detail: 'for their owner alone' }]
}

// A process that makes a master key writes it beside its place first, and links it there.
function leftKeys(masterKeyFile: string): readonly string[] {
  const folder = dirname(masterKeyFile)
  try {
    const names = readdirSync(folder).filter((name) => /\.[0-9a-f]{12}\.tmp$/.test(name))
    return names.map((name) => join(folder, name))
  } catch {
    // A folder that is not there, or may only be entered, is what the master key's own check is about.
    return []
  }
}

/** Damage, migrations that are missing, and what a move or a restore has left. */
export async function checkDatabase({ store }: RingView): Promise<readonly Finding[]> {
  const faults = await store.check()
  const left = (await store.readRemains()).map(
    (remains): Finding => ({ check: 'database', status: 'warning', detail: describeRemains(remains) }),
  )
  if (faults.length === 0) return [{ check: 'database', status: 'ok', detail: `${store.location} is whole` }, ...left]
  return [...faults.map((detail): Finding => ({ check: 'database', status: 'fault', detail })), ...left]
}

/** Whether an old copy of the database would be noticed, and whether this is one. */
export async function checkWitness(
  context: CommandContext,
  { store, material }: RingView,
): Promise<readonly Finding[]> {
  const { witnessFile, databasePath } = context.settings
  const finding = (status: Finding['status'], detail: string): readonly Finding[] => [
    { check: 'witness', status, detail },
  ]
  if (store.doubt !== undefined) return finding('fault', store.doubt)
  const { readWitness } = await import('../store/witness.ts')
  if (readWitness(witnessFile)?.has(material.storeId) !== true) {
    return finding(
      'warning',
      `${witnessFile} does not know this database, so an old copy of it would start unnoticed: the next start or change writes it; put it back if it was there`,
    )
  }
  if (dirname(witnessFile) === dirname(databasePath)) {
    return finding(
      'warning',
      `the witness lies beside the database in ${dirname(witnessFile)}, and whoever puts back that folder puts back both: give MAYFLY_WITNESS_FILE another place`,
    )
  }
  if ((statSync(witnessFile).mode & 0o022) !== 0) {
    return finding('fault', `others can write the witness ${witnessFile}: run \`chmod go-w ${witnessFile}\``)
  }
  return finding('ok', `${witnessFile} remembers how far the database has come`)
}

/** Whether the master key opens the root, and each private key matches the public one that is published. */
export async function checkMaster(context: CommandContext, material: KeyMaterial): Promise<readonly Finding[]> {
  const { readMasterKey } = await import('../key/master-key-file.ts')
  const { checkMasterKey } = await import('../key/provision.ts')
  const { KeyRingOpener } = await import('../key/ring.ts')
  const { masterKeyFile } = context.settings
  try {
    const master = checkMasterKey(readMasterKey(masterKeyFile), material, masterKeyFile)
    const { keys } = await new KeyRingOpener(master).open(material)
    return [{ check: 'master key', status: 'ok', detail: `${masterKeyFile} opens all ${keys.length} signing keys` }]
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'KeyMaterialError') throw error
    return [{ check: 'master key', status: 'fault', detail: error.message }]
  }
}

/** Whether rotations happen when they are due. */
export async function checkKeys({ store, moment, timing }: RingView): Promise<readonly Finding[]> {
  const { findOverdue, rotationAt } = await import('../key/timeline.ts')
  const { signingAlgs } = await import('../key/signer.ts')
  const keys = await store.listKeys()
  // What the clock is guilty of is said of the clock.
  const faults = findOverdue(keys, { ...moment, wall: moment.now }, timing)
  if (faults.length > 0) return faults.map((detail) => ({ check: 'signing keys', status: 'warning', detail }))
  const next = signingAlgs.map((alg) => `${alg} ${formatMoment(rotationAt(alg, keys, moment, timing))}`)
  return [{ check: 'signing keys', status: 'ok', detail: `next rotation: ${next.join(', ')}` }]
}

/** Whether this machine's clock is that of the database, and not behind what the database has seen. */
export function checkClock({ store: { clock }, moment: { now, wall } }: RingView): readonly Finding[] {
  if (clock.isOff) {
    const off = formatSpan(Math.abs(clock.offsetMilliseconds) / 1000)
    const way = clock.offsetMilliseconds > 0 ? 'ahead of' : 'behind'
    const detail = `${off} ${way} the clock of the database, and a server here issues nothing until it is set right`
    return [{ check: 'clock', status: 'fault', detail }]
  }
  const behind = (now - wall) / 1000
  if (behind <= clockToleranceSeconds) {
    return [{ check: 'clock', status: 'ok', detail: 'not behind what the database has seen' }]
  }
  return [
    {
      check: 'clock',
      status: 'fault',
      detail: `${formatSpan(behind)} behind what the database has seen (${formatTimestamp(now)}), and no key moves until it catches up: set the clock right; if it is right, \`mayfly doctor --reset-calendar\` sets the database back`,
    },
  ]
}

/** Whether the issuer answers under its own name, with the keys of this database, and with the same time. */
export async function checkIssuer(context: CommandContext, { store, material }: RingView): Promise<readonly Finding[]> {
  const { issuer } = await store.readRegistryHead()
  if (issuer === undefined) {
    return [{ check: 'issuer', status: 'warning', detail: 'no server has started on this database yet' }]
  }
  const finding = (status: Finding['status'], detail: string): readonly Finding[] => [
    { check: 'issuer', status, detail },
  ]
  const { pathname, origin } = new URL(issuer)
  const path = pathname === '/' ? '' : pathname
  try {
    const metadata = await fetchJson(`${origin}/.well-known/oauth-authorization-server${path}`)
    if (metadata.json.issuer !== issuer) {
      return finding('fault', `${issuer} answers as another issuer: look where its proxy leads`)
    }
    const jwks = await fetchJson(`${issuer}/.well-known/jwks.json`)
    const served = Array.isArray(jwks.json.keys) ? (jwks.json.keys as { kid?: unknown }[]).map(({ kid }) => kid) : []
    const missing = material.signingKeys.filter(({ kid }) => !served.includes(kid)).map(({ kid }) => kid)
    if (missing.length > 0) {
      return finding(
        'fault',
        `${issuer} does not publish ${missing.join(', ')}: is it another database, or an old copy in a cache?`,
      )
    }
    const skew = Math.abs(metadata.date - context.now()) / 1000
    if (metadata.date > 0 && skew > clockToleranceSeconds) {
      return finding(
        'warning',
        `the clock of ${issuer} and of this machine differ by ${formatSpan(skew)}: set them right`,
      )
    }
    return finding('ok', `${issuer} answers, with the keys of this database`)
  } catch (error) {
    const why =
      error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : String(error)
    return finding(
      'warning',
      `${issuer} cannot be reached from here (${why}): is the server running, is the name right?`,
    )
  }
}

async function fetchJson(url: string): Promise<{ json: Record<string, unknown>; date: number }> {
  const signal = AbortSignal.timeout(issuerTimeoutMilliseconds)
  const response = await fetch(url, { redirect: 'error', signal })
  if (response.status !== 200) throw new Error(`${url} answers ${response.status}`)
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body ?? []) {
    length += chunk.length
    if (length > maxDocumentBytes) throw new Error(`${url} is longer than 64 KiB`)
    chunks.push(chunk)
  }
  const json = JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
  if (typeof json !== 'object' || json === null) throw new Error(`${url} is not a JSON object`)
  return { json: { ...json }, date: Date.parse(response.headers.get('date') ?? '') || 0 }
}

/** Secrets that end soon. */
export async function checkSecrets(context: CommandContext, { store }: RingView): Promise<readonly Finding[]> {
  const from = context.now()
  const found = await store.listExpiringSecrets({ from, to: from + soonSeconds * 1000, limit: maxSecretsShown + 1 })
  if (found.length === 0)
    return [{ check: 'secrets', status: 'ok', detail: `none ends within ${formatSpan(soonSeconds)}` }]
  const findings = found.slice(0, maxSecretsShown).map(
    ({ clientId, secretId, expiresAt, isLast }): Finding => ({
      check: 'secrets',
      status: isLast ? 'warning' : 'ok',
      detail: `${secretId} of ${clientId} ends in ${formatSpan((expiresAt - from) / 1000)}${isLast ? `, and no other lives longer: \`mayfly secret create ${clientId}\`` : '; another one lives longer'}`,
    }),
  )
  return found.length <= maxSecretsShown
    ? findings
    : [
        ...findings,
        {
          check: 'secrets',
          status: 'warning',
          detail: `and more than ${maxSecretsShown}: \`mayfly secret list\` shows those of a client`,
        },
      ]
}

/** What the audit trail will take, at today's pace. */
export async function checkSize(context: CommandContext, { store }: RingView): Promise<readonly Finding[]> {
  const { auditIssuanceRetentionSeconds: retention } = context.settings
  const usage = await store.readUsage(context.now() - daySeconds * 1000)
  const projected = (usage.issuancesSince * usage.bytesPerIssuance * retention) / daySeconds
  const growth = Math.max(0, projected - usage.issuances * usage.bytesPerIssuance)
  const pace = `${usage.issuancesSince} tokens in the last day; records of ${formatSpan(retention)} will take ${formatBytes(projected)}`
  const { freeBytes = Number.POSITIVE_INFINITY } = usage
  const left =
    usage.freeBytes === undefined
      ? 'room on its server cannot be seen from here'
      : `its disk ${formatBytes(freeBytes)} left`
  const room = `the database has ${formatBytes(usage.bytes)}, ${left}`
  if (growth * 1.5 > freeBytes) {
    return [
      {
        check: 'size',
        status: 'fault',
        detail: `${pace}, and ${room}: make room, or lower MAYFLY_AUDIT_ISSUANCE_RETENTION; a full disk stops issuing`,
      },
    ]
  }
  return [{ check: 'size', status: 'ok', detail: `${pace}; ${room}` }]
}

function formatMoment(at: number | undefined): string {
  return at === undefined ? 'not before a key is staged' : formatTimestamp(at)
}
