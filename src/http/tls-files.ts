/**
 * The files of TLS: our certificate with its key, and the authorities whose certificates clients may have. They are looked at
 * every few seconds and read again when one has changed, as certificate managers replace them; connections go on. What cannot
 * be used is reported once, and what was there before stays in force.
 */
import { readFileSync, type Stats, statSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { CertificateError } from '../client/certificate.ts'
import { type Certificate, readCertificate } from '../client/x509.ts'

/** Where the files lie, by absolute path. */
export interface TlsPaths {
  readonly certificate?: string | undefined
  readonly key?: string | undefined
  readonly clientAuthorities?: string | undefined
}

/** What a listener needs: PEM. */
export interface ServerCertificate {
  readonly cert: Buffer
  readonly key: Buffer
  /** Whether clients are asked for certificates. */
  readonly asksClients: boolean
}

/** A file of TLS that cannot be used. The message is one sentence that says what to do. */
export class TlsFileError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TlsFileError'
  }
}

interface Loaded {
  readonly server?: ServerCertificate
  readonly authorities?: readonly Certificate[]
}

export class TlsFiles {
  readonly #paths: TlsPaths
  #loaded: Loaded
  /** The state of the files when they were last read, whether or not they could be used. */
  #seen: string
  #listener: ((server: ServerCertificate) => void) | undefined

  /** @throws TlsFileError */
  constructor(paths: TlsPaths) {
    this.#paths = paths
    this.#seen = this.#look()
    this.#loaded = this.#load()
  }

  /** Absent without native TLS. */
  get server(): ServerCertificate | undefined {
    return this.#loaded.server
  }

  /** Absent when clients are asked for no certificates. */
  get authorities(): readonly Certificate[] | undefined {
    return this.#loaded.authorities
  }

  /** Names who takes over a certificate that has changed. */
  onChange(listener: (server: ServerCertificate) => void): void {
    this.#listener = listener
  }

  /**
   * Reads the files again if one has changed.
   *
   * @returns whether that was so
   * @throws TlsFileError once for each state that cannot be used; what was read before stays
   */
  refresh(): boolean {
    const seen = this.#look()
    if (seen === this.#seen) return false
    this.#seen = seen
    const loaded = this.#load()
    this.#loaded = loaded
    if (loaded.server !== undefined) this.#listener?.(loaded.server)
    return true
  }

  // Links are followed: a mounted secret is replaced by pointing a link elsewhere.
  #look(): string {
    return Object.values(this.#paths)
      .filter((path) => path !== undefined)
      .map((path) => {
        try {
          const { dev, ino, size, mtimeNs, ctimeNs, mode } = statSync(path, { bigint: true })
          return [dev, ino, size, mtimeNs, ctimeNs, mode].join(':')
        } catch {
          return 'none'
        }
      })
      .join(' ')
  }

  #load(): Loaded {
    const { certificate, key, clientAuthorities } = this.#paths
    const authorities = clientAuthorities === undefined ? undefined : readAuthorities(clientAuthorities)
    const both = certificate !== undefined && key !== undefined
    return {
      ...(both ? { server: { ...readPair(certificate, key), asksClients: authorities !== undefined } } : {}),
      ...(authorities === undefined ? {} : { authorities }),
    }
  }
}

function readPair(certificate: string, keyPath: string): Pick<ServerCertificate, 'cert' | 'key'> {
  const cert = readFile(certificate, 'MAYFLY_TLS_CERT_FILE')
  requirePrivate(keyPath)
  const key = readFile(keyPath, 'MAYFLY_TLS_KEY_FILE')
  try {
    createSecureContext({ cert, key })
  } catch (cause) {
    throw new TlsFileError(
      `the certificate ${certificate} and the key ${keyPath} cannot be used together: MAYFLY_TLS_CERT_FILE takes a certificate and those that lead from it to its authority, MAYFLY_TLS_KEY_FILE its key without a passphrase, both in PEM`,
      { cause },
    )
  }
  return { cert, key }
}

function readFile(path: string, variable: string): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new TlsFileError(`${path} cannot be read: ${variable} takes the path of a file that this user may read`, {
      cause,
    })
  }
}

// As with the master key: the group may read it, for that is how secrets are mounted into containers.
function requirePrivate(path: string): void {
  let status: Stats | undefined
  try {
    status = statSync(path, { throwIfNoEntry: false })
  } catch {
    // Reading it says so in a sentence.
  }
  if (status !== undefined && (status.mode & 0o007) !== 0) {
    throw new TlsFileError(
      `the TLS key ${path} is open to every user of this machine: run \`chmod o= ${path}\`, and replace it if others may have read it`,
    )
  }
}

const pemBlock = /-----BEGIN (?<label>[A-Z0-9 ]+)-----(?<body>[^-]*)-----END \k<label>-----/g

/** An empty file names no authority: clients are asked for certificates, and only registered ones are good. */
function readAuthorities(path: string): readonly Certificate[] {
  const text = readFile(path, 'MAYFLY_TLS_CLIENT_CA_FILE').toString('latin1')
  const blocks = [...text.matchAll(pemBlock)].map(({ groups }) => groups ?? {})
  const begun = text.match(/-----BEGIN /g)?.length ?? 0
  if (begun !== blocks.length || (begun === 0 && text.trim() !== ''))
    throw new TlsFileError(`${path} is no PEM: MAYFLY_TLS_CLIENT_CA_FILE takes certificates of authorities`)
  return blocks.map(({ label, body = '' }, i) => {
    const which = `${path}, block ${i + 1} of ${blocks.length}`
    if (label !== 'CERTIFICATE')
      throw new TlsFileError(`${which} is no certificate: MAYFLY_TLS_CLIENT_CA_FILE takes nothing else`)
    return readAuthority(Buffer.from(body, 'base64'), which)
  })
}

function readAuthority(der: Uint8Array, which: string): Certificate {
  try {
    const certificate = readCertificate(der)
    if (certificate.x509.ca) return certificate
  } catch (cause) {
    if (!(cause instanceof CertificateError)) throw cause
    throw new TlsFileError(`${which} cannot be read (${cause.message}): MAYFLY_TLS_CLIENT_CA_FILE takes certificates`, {
      cause,
    })
  }
  throw new TlsFileError(`${which} is the certificate of no authority: MAYFLY_TLS_CLIENT_CA_FILE takes those alone`)
}
