/**
 * The composition root: what an issuer consists of is put together here, and in the files beside this one. What it makes
 * has no process, no environment and no port of its own.
 */
import { keyTimingOf } from '../config/keys.ts'
import type { Settings } from '../config/settings.ts'
import type { TlsFiles } from '../http/tls-files.ts'
import { readMasterKey } from '../key/master-key-file.ts'
import { type Provisioned, provisionKeys } from '../key/provision.ts'
import { KeyRingOpener } from '../key/ring.ts'
import { RingClock } from '../key/ring-clock.ts'
import { signingAlgs } from '../key/signer.ts'
import { describeError, type Log } from '../lib/log.ts'
import { WitnessUnavailable } from '../lib/store-error.ts'
import { Registry } from '../registry/registry.ts'
import { openStoreAt } from '../store/open-store.ts'
import { type Store, type StoreEvents, StoreOpenError } from '../store/store.ts'
import { type AppOptions, isFirst, type Parts } from './parts.ts'
import { type App, startApp } from './start.ts'

// What is due to the key ring happens within a second.
const keyTickMilliseconds = 400

/** An issuer with its store open and its keys tested, which does not know its URL yet. */
export interface PreparedApp {
  readonly store: Store
  readonly provisioned: Provisioned
  /** Absent without any setting of TLS. */
  readonly tls: TlsFiles | undefined
  /**
   * With `passing` the issuer is one of this start alone (a port that was free just now) and takes the place of the last such.
   *
   * @throws IssuerMismatch, StoreUnavailable
   */
  start(issuer: string, options?: { passing: boolean }): Promise<App>
  close(): Promise<void>
}

/**
 * Opens the store and the key ring.
 *
 * @throws TlsFileError, StoreOpenError, KeyMaterialError, StoreUnavailable: each with one sentence that says what to do
 */
export async function prepareApp(settings: Settings, options: AppOptions): Promise<PreparedApp> {
  const tls = await openTlsFiles(settings)
  const events: Parts['events'] = { failing: false, witnessFailing: false }
  const store = await openStoreAt(settings, {
    create: true,
    examine: isFirst(options.membership),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    witness: { file: settings.witnessFile },
    processes: options.membership?.count ?? 1,
    events: storeEventsOf(events, options.log),
  })
  const { clock } = store
  try {
    await store.follow({ comparesClocks: options.comparesClocks ?? true })
    await store.checkWritable()
    const timing = keyTimingOf(settings)
    const provisioned = await provisionKeys(store, settings.masterKeyFile, timing, clock)
    await store.confirmWitness()
    const opener = new KeyRingOpener(provisioned.masterKey, {
      hook: options.signerHook,
      rereadMasterKey: () => readMasterKey(settings.masterKeyFile),
    })
    const registry = new Registry(store, opener, timing, clock)
    const { ring } = await registry.view()
    for (const alg of signingAlgs) ring.activeSigner(alg)
    const ringClock = new RingClock(options.ringClock ?? clock, ring.mark, () => clock.isOff)
    const parts: Parts = {
      settings,
      tls,
      store,
      registry,
      clock,
      ring,
      ringClock,
      log: options.log,
      linesLost: options.linesLost ?? (() => 0),
      membership: options.membership,
      events,
      failed: new Set(),
      keyTickMilliseconds: options.keyTickMilliseconds ?? keyTickMilliseconds,
      outside: options.outside ?? {},
    }
    return {
      store,
      provisioned,
      tls,
      start: (issuer, { passing } = { passing: false }) => startApp(parts, issuer, passing),
      close: () => store.close(),
    }
  } catch (error) {
    await store.close()
    // Nobody shall hear of changes that cannot be witnessed only when he makes one.
    throw error instanceof WitnessUnavailable ? new StoreOpenError(error.message, { cause: error }) : error
  }
}

// Once the server is started the metrics count as well.
function storeEventsOf(events: Parts['events'], log: Log): StoreEvents {
  return {
    onCommit: (acts, seconds) => {
      events.failing = false
      events.metrics?.commitActs.observe(acts)
      events.metrics?.commitSeconds.observe(seconds)
    },
    onFailure: (error) => {
      events.failing = true
      events.metrics?.commitFailures.inc()
      log.error({ err: describeError(error) }, 'commit failed')
    },
    onWitnessFailure: (error) => {
      if (!events.witnessFailing) log.error({ err: describeError(error) }, 'witness not written')
      events.witnessFailing = true
    },
    onClock: (offset) => tellOfClock(log, offset),
  }
}

function tellOfClock(log: Log, offsetMilliseconds: number | undefined): void {
  if (offsetMilliseconds === undefined) log.info({}, 'the clock is right again')
  else log.error({ offset_seconds: offsetMilliseconds / 1000 }, 'the clock is off: no tokens until it is set right')
}

// What reads certificates is not loaded for nothing.
async function openTlsFiles({ tlsCertFile, tlsKeyFile, tlsClientCaFile }: Settings): Promise<TlsFiles | undefined> {
  if (tlsCertFile === undefined && tlsClientCaFile === undefined) return undefined
  const { TlsFiles } = await import('../http/tls-files.ts')
  return new TlsFiles({ certificate: tlsCertFile, key: tlsKeyFile, clientAuthorities: tlsClientCaFile })
}
