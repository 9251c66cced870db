/** The life of a server process: prepare, listen, start, and at the signal drain and close. */
import type { AppOptions } from './app/parts.ts'
import { type PreparedApp, prepareApp } from './app/prepare.ts'
import type { App } from './app/start.ts'
import type { Settings } from './config/settings.ts'
import { findFreePort, type Listener, listen } from './http/listen.ts'
import type { ServerCertificate } from './http/tls-files.ts'
import { describeError, type Log } from './lib/log.ts'

/** The address cannot be listened on. The message is one sentence that says what to do. */
export class ListenError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ListenError'
  }
}

/** A server that answers. */
export interface RunningServer {
  readonly issuer: string
  /** Where it listens: scheme, host and port. */
  readonly url: string
  readonly metricsUrl: string | undefined
  readonly prepared: PreparedApp
  readonly keys: App['keys']
  readonly readSnapshot: App['readSnapshot']
  /** Takes no new connection; those that are open go on as if nothing were. */
  stopListening(): void
  /** Drains, closes, and resolves when nothing is left. */
  stop(): Promise<void>
}

/**
 * Starts a server.
 *
 * @throws TlsFileError, StoreOpenError, KeyMaterialError, IssuerMismatch, ListenError, StoreUnavailable; nothing is left open then
 */
export async function startServer(settings: Settings, options: AppOptions): Promise<RunningServer> {
  const { log } = options
  const prepared = await prepareApp(settings, options)
  const listeners: Listener[] = []
  let app: App | undefined
  try {
    const tls = prepared.tls?.server
    // Who joins others has their port, and takes their connections from the moment that it listens.
    if (options.membership?.joins && settings.issuer !== undefined) app = await prepared.start(settings.issuer)
    const listener = await bind(settings, 'MAYFLY_HOST and MAYFLY_PORT', options, tls)
    listeners.push(listener)
    prepared.tls?.onChange((certificate) => listener.replaceCertificate(certificate))
    const url = toUrl(tls === undefined ? 'http' : 'https', settings.host, listener.port)
    const issuer = settings.issuer ?? url
    app ??= await prepared.start(issuer, { passing: settings.issuer === undefined && settings.port === 0 })
    const metricsUrl = await serveMetrics(settings, app, listeners, options)
    listener.serve(app.main)
    const started = app
    const { keys, readSnapshot } = app
    const stopListening = (): void => listener.stopListening()
    return {
      ...{ issuer, url, metricsUrl, prepared, keys, readSnapshot, stopListening },
      stop: () => stop(started, listeners, log),
    }
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.drain()))
    await (app ?? prepared).close()
    throw error
  }
}

async function serveMetrics(
  { metricsListen }: Settings,
  app: App,
  listeners: Listener[],
  options: AppOptions,
): Promise<string | undefined> {
  if (metricsListen === undefined) return undefined
  const listener = await bind(metricsListen, 'MAYFLY_METRICS_LISTEN', options)
  listeners.push(listener)
  listener.serve(app.metrics)
  return toUrl('http', metricsListen.host, listener.port)
}

// Readiness goes off before the port does, and the metrics port stays until the last request is answered.
async function stop(app: App, [main, ...others]: readonly Listener[], log: Log): Promise<void> {
  log.info({}, 'draining')
  app.markDraining()
  await main?.drain()
  await Promise.all(others.map((listener) => listener.drain()))
  await app.close()
  log.info({}, 'stopped')
}

type Place = { readonly host: string; readonly port: number }

async function bind(
  { host, port }: Place,
  variables: string,
  options: AppOptions,
  tls?: ServerCertificate,
): Promise<Listener> {
  try {
    const { drainIdleMilliseconds: idleMilliseconds, limits } = options
    // Those that join name the port, and the socket is shared under the name that it was first asked for by.
    const named = port === 0 && options.membership !== undefined ? await findFreePort(host) : port
    return await listen(host, named, { idleMilliseconds, limits, tls })
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    const what = `${host}:${port}`
    if (code === 'EADDRINUSE')
      throw new ListenError(`${what} is in use: end the program that listens there, or set ${variables}`, { cause })
    if (code === 'EACCES')
      throw new ListenError(
        `${what} needs a privilege that this user does not have: choose a port above 1023 with ${variables}`,
        { cause },
      )
    throw new ListenError(`${what} cannot be listened on (${String(code ?? describeError(cause))}): set ${variables}`, {
      cause,
    })
  }
}

function toUrl(scheme: 'http' | 'https', host: string, port: number): string {
  return new URL(`${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`).origin
}
