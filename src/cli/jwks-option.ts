/** The keys of a client from the command line: a file with public keys, or the URL that the client publishes them at. */
import { createPublicKey } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import type { ClientJwk, ClientKeys } from '../client/client.ts'
import { parsePlainObject } from '../oauth/jwt.ts'
import { type ForeignAlg, foreignAlgs, isForeignAlg, PublicJwkError, parsePublicJwk } from '../oauth/public-jwk.ts'
import { isDocumentUrl } from '../outbound/document-url.ts'
import { type OptionValues, UsageError } from './command.ts'
import { quote, textOption } from './values.ts'

const maxFileBytes = 64 * 1024

/** The options that `client create` and `client update` share. */
export const jwksOptions = [
  {
    flags: '--jwks <file>',
    description: 'its public keys: a JWK set, one JWK, or a PEM file as `openssl pkey -pubout` writes it',
  },
  {
    flags: '--jwks-uri <url>',
    description: 'where it publishes its keys: an https URL, port 443 or one that ends in 443',
  },
  {
    flags: '--token-endpoint-auth-signing-alg <alg>',
    description: `the one algorithm of its assertions: ${foreignAlgs.join(', ')} (default: any that fits its key)`,
  },
]

/** The keys that the options name. @throws UsageError */
export function parseKeys(options: OptionValues): ClientKeys | undefined {
  const file = textOption(options, 'jwks')
  const uri = textOption(options, 'jwksUri')
  if (file !== undefined && uri !== undefined) {
    throw new UsageError('--jwks and --jwks-uri are both given: keep one of them')
  }
  if (uri !== undefined) return { kind: 'uri', uri: parseJwksUri(uri) }
  return file === undefined ? undefined : { kind: 'inline', jwks: parseKeyFile(file, readText(file)) }
}

/** The algorithm that the options name. @throws UsageError */
export function parseAssertionAlg(options: OptionValues): ForeignAlg | undefined {
  const alg = textOption(options, 'tokenEndpointAuthSigningAlg')
  if (alg === undefined || isForeignAlg(alg)) return alg
  throw new UsageError(`${quote(alg)} is not an algorithm of assertions: it takes ${foreignAlgs.join(', ')}`)
}

function parseJwksUri(text: string): string {
  if (isDocumentUrl(text)) return new URL(text).href
  throw new UsageError(
    `${quote(text)} is not a URL that keys are fetched from: it takes https, a host name that is no address, and port 443 or one that ends in 443, such as https://billing.example.com/jwks.json`,
  )
}

// One byte more than is taken, so that a longer file shows.
function readText(path: string): string {
  const bytes = Buffer.alloc(maxFileBytes + 1)
  let length = 0
  try {
    const file = openSync(path, 'r')
    try {
      for (let read = -1; read !== 0; length += read) read = readSync(file, bytes, length, bytes.length - length, null)
    } finally {
      closeSync(file)
    }
  } catch {
    throw new UsageError(`--jwks is ${quote(path)}: it takes the path of a file that can be read`)
  }
  if (length > maxFileBytes) throw new UsageError(`${quote(path)} is longer than 64 KiB, which no key set is`)
  return bytes.toString('utf8', 0, length)
}

function parseKeyFile(path: string, text: string): readonly ClientJwk[] {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new UsageError(
      `${quote(path)} holds a private key, which must never leave its owner: \`openssl pkey -in FILE -pubout\` writes the public half`,
    )
  }
  const members = text.includes('-----BEGIN PUBLIC KEY-----') ? parsePem(path, text) : parseJson(path, text)
  return members.map((member, i) => {
    try {
      return parsePublicJwk(member).jwk
    } catch (error) {
      if (!(error instanceof PublicJwkError)) throw error
      throw new UsageError(`key ${i + 1} in ${quote(path)} is not taken: ${error.message}`)
    }
  })
}

function parsePem(path: string, text: string): readonly unknown[] {
  const blocks = text.match(/-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----/gs) ?? []
  try {
    if (blocks.length > 0) return blocks.map((pem) => createPublicKey(pem).export({ format: 'jwk' }))
  } catch {
    // OpenSSL's words tell nobody what to do.
  }
  throw new UsageError(`${quote(path)} is not a public key in PEM that can be read`)
}

function parseJson(path: string, text: string): readonly unknown[] {
  const document = parsePlainObject(text)
  if (document === undefined) throw new UsageError(`${quote(path)} is no JWK set, JWK or PEM file with public keys`)
  if (!('keys' in document)) return [document]
  if (Array.isArray(document.keys)) return document.keys
  throw new UsageError(`${quote(path)} is no JWK set: its keys are no list`)
}
