import { inspect, styleText } from 'node:util'
import { type DestinationStream, destination, type Logger, pino } from 'pino'
import type { LogLevel } from './config.ts'

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

/** Lines that cannot be written wait for room up to this, and later ones are dropped. */
const maxWaitingBytes = 1024 * 1024

/** The operator's log, on stderr: JSON lines, or readable ones for a terminal. */
export function createLogger(level: LogLevel, readable: boolean): Logger {
  const stderr = destination({ fd: 2, sync: true, maxLength: maxWaitingBytes })
  // A log that cannot be written, its disk full perhaps, must not become the answer to a request: without a listener each
  // line would throw where it was logged.
  stderr.on('error', () => {})
  const stream: DestinationStream = readable ? { write: (line) => void stderr.write(formatLine(line)) } : stderr
  return pino(
    {
      level,
      base: null,
      redact,
      messageKey: 'message',
      // Errors come described; pino's own serializer would take the description for an error.
      serializers: { err: (described: unknown) => described },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  )
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
