/** What was answered, with everything that a run makes up replaced by the order in which it first appeared. */
import type { Reply } from './server.ts'

// What is made up, most particular first. JWTs are told by what they say.
const madeUp: readonly (readonly [string, RegExp])[] = [
  ['bytes', /\{"type":"Buffer","data":\[[\d,]*\]\}/g],
  ['jwt', /eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+/g],
  ['secret', /mf[srim]_[\w-]+/g],
  ['id', /\b[a-z]{3}_[0-9A-Z]{26}\b/g],
  ['ulid', /\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/g],
  ['secret id', /\bsec_[\w-]+/g],
  ['digest', /(?<![\w-])[\w-]{43}(?![\w-])/g],
  ['etag', /(?<=^ *etag: )\S+$/gm],
  ['modulus', /(?<![\w-])[\w-]{342}(?![\w-])/g],
  ['sha256', /\b[0-9a-f]{12}\b/g],
]

export class Trace {
  readonly lines: string[] = []
  readonly #names = new Map<string, string>()
  readonly #counts = new Map<string, number>()

  /** Adds a reply: its status, its headers but for the date, its body. */
  add(what: string, { status, headers, text }: Pick<Reply, 'status' | 'headers' | 'text'>): void {
    const kept = [...headers].filter(([name]) => name !== 'date').map(([name, value]) => `${name}: ${value}`)
    this.lines.push(this.normalize([`${what} → ${status}`, ...kept, text].join('\n  ')))
  }

  note(what: string, value: unknown): void {
    this.lines.push(`${what} ${this.normalize(JSON.stringify(value))}`)
  }

  normalize(text: string): string {
    return madeUp.reduce(
      (left, [kind, pattern]) => left.replaceAll(pattern, (found) => this.#nameOf(kind, found)),
      text,
    )
  }

  #nameOf(kind: string, found: string): string {
    const known = this.#names.get(found)
    if (known !== undefined) return known
    const count = (this.#counts.get(kind) ?? 0) + 1
    this.#counts.set(kind, count)
    const name = `<${kind} ${count}>`
    this.#names.set(found, name)
    if (kind !== 'jwt') return name
    const [header = '', claims = ''] = found.split('.')
    const said = [header, claims].map((part) => this.normalize(Buffer.from(part, 'base64url').toString()))
    return this.#names.set(found, `${name}${said.join('')}`).get(found) ?? name
  }
}
