import { inspect, styleText } from 'node:util'
import { type Logger, pino } from 'pino'
import type { LogLevel } from './config/operation.ts'
import { type LineSink, LineWriter } from './lib/line-writer.ts'

// Nothing below hands a credential to the log; should something ever do, these names do not get through.
const redact = {
  paths: [
    'client_secret',
    'client_assertion',
    'access_token',
    'refresh_token',
    'authorization',
    'dpop',
    'secret',
  ].flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
  censor: '[redacted]',
}

/** What a pipe takes whole, whoever else writes to it (POSIX guarantees 512, Linux 4096). */
const maxLineBytes = 4_096
const maxTextLength = 400

export interface LoggerOptions {
  readonly level: LogLevel
  /** Whether a person reads it, on a terminal. */
  readonly readable: boolean
  /** Fields of every line. */
  readonly base?: object
}

/** A log, and what its lines wait in. */
export interface OperatorLog {
  readonly log: Logger
  readonly lines: LineWriter
}

/**
 * The operator's log: JSON lines, or readable ones for a terminal. Several processes may write to one pipe: each line is one
 * write of no more than what arrives in one piece. A log that cannot be written, its disk full perhaps, or its reader asleep,
 * must not become the answer to a request.
 */
export function createLogger(sink: LineSink, { level, readable, base }: LoggerOptions): OperatorLog {
  const format = readable ? formatLine : shorten
  let told = ''
  const ofLosses = createPino({ level: 'warn', base }, (line) => {
    told = format(line)
  })
  const lines = new LineWriter(sink, {
    describeLoss: (count) => {
      ofLosses.warn({ lines: count }, 'lines of the log were lost: nobody read them')
      return told
    },
  })
  return { log: createPino({ level, base }, (line) => lines.write(format(line))), lines }
}

function createPino(
  { level, base }: { readonly level: LogLevel; readonly base: object | undefined },
  write: (line: string) => void,
): Logger {
  return pino(
    {
      level,
      base: base ?? null,
      redact,
      messageKey: 'message',
      // Errors come described; pino's own serializer would take the description for an error.
      serializers: { err: (described: unknown) => described },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  )
}

// Texts of errors that others wrote may be of any length.
function shorten(line: string): string {
  if (Buffer.byteLength(line) <= maxLineBytes) return line
  const cut = (_: string, value: unknown): unknown =>
    typeof value === 'string' && value.length > maxTextLength ? `${value.slice(0, maxTextLength)}…` : value
  const shorter = `${JSON.stringify(JSON.parse(line), cut)}\n`
  if (Buffer.byteLength(shorter) <= maxLineBytes) return shorter
  const { level, time, worker, message } = JSON.parse(shorter) as Record<string, unknown>
  return `${JSON.stringify({ level, time, worker, message, cut: true })}\n`
}

const colours = { debug: 'gray', info: 'cyan', warn: 'yellow', error: 'red' } as const

// Values are shown as JSON, so that nothing that came over the wire can move the cursor of whoever reads.
function formatLine(line: string): string {
  const { level, time, message, ...fields } = JSON.parse(line) as Record<string, unknown>
  const colour = colours[level as keyof typeof colours] ?? 'white'
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
  const words = [
    styleText('gray', String(time).slice(11, 23)),
    styleText(colour, String(level)),
    String(message),
    ...rest,
  ]
  return `${words.map((word) => (typeof word === 'string' ? word : inspect(word))).join(' ')}\n`
}
