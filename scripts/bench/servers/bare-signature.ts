/** The least that a signature can cost, or its check: OpenSSL in a loop, nothing else in the process. Works for a while a message. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from 'node:crypto'

/** What to do, with what, and for how long. */
export interface SignatureJob {
  readonly act: 'sign' | 'verify'
  readonly alg: 'ES256' | 'RS256'
  readonly seconds: number
}

export interface SignatureResult {
  readonly count: number
  readonly seconds: number
  readonly cpuMicroseconds: number
  /** Whether the last signature is right, or all that were checked were found to be. */
  readonly verified: boolean
}

const pairs = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
}
// As long as the signing input of a token.
const input = Buffer.from(randomBytes(360).toString('base64url'))

function run({ act, alg, seconds }: SignatureJob): SignatureResult {
  const { privateKey, publicKey } = pairs[alg]
  const known = sign('sha256', input, privateKey)
  const work = act === 'sign' ? () => signMany(privateKey) : () => verifyMany(publicKey, known)
  const started = performance.now()
  const before = process.cpuUsage()
  let count = 0
  let signature = work()
  while (performance.now() - started < seconds * 1000) {
    signature = work()
    count += 20
  }
  const { user, system } = process.cpuUsage(before)
  return {
    // The first ones were inside the time too.
    count: count + 20,
    seconds: (performance.now() - started) / 1000,
    cpuMicroseconds: user + system,
    verified: verify('sha256', input, publicKey, signature),
  }
}

function signMany(key: KeyObject): Buffer {
  for (let i = 1; i < 20; i += 1) sign('sha256', input, key)
  return sign('sha256', input, key)
}

function verifyMany(key: KeyObject, signature: Buffer): Buffer {
  for (let i = 1; i <= 20; i += 1) if (!verify('sha256', input, key, signature)) return Buffer.alloc(0)
  return signature
}

process.on('message', (job: SignatureJob) => process.send?.(run(job)))
process.on('disconnect', () => process.exit())
