/** What the supervisor and a worker say to each other. */
import type { MetricsSnapshot } from '../http/metrics-sum.ts'
import type { SharedQuestions } from '../http/shared-line.ts'
import type { Subjects } from '../lib/channel.ts'

/** A worker that answers requests. */
export interface Ready {
  readonly url: string
  readonly issuer: string
  readonly metricsUrl?: string | undefined
  /** What a first start prints below its first line. */
  readonly text?: string | undefined
}

/** Why a worker could not begin: an error, as far as JSON can hold one. */
export interface StartFault {
  readonly name: string
  readonly message: string
  readonly cause?: { readonly name: string; readonly message: string }
}

/** What a worker says. */
export interface WorkerSays extends SharedQuestions {
  readonly ready: readonly [Ready, null]
  readonly failed: readonly [StartFault, null]
  /** The metrics of all, in Prometheus' text. */
  readonly metrics: readonly [null, string]
  /** Its last numbers, before it ends. */
  readonly counted: readonly [MetricsSnapshot, null]
}

/** What the supervisor says. */
export interface SupervisorSays extends Subjects {
  readonly snapshot: readonly [null, MetricsSnapshot]
  /** Answered when it takes no new connection any more. */
  readonly stopListening: readonly [null, null]
  readonly drain: readonly [null, null]
}

/** By this variable a process knows which worker it is; the supervisor alone sets it. */
export const workerVariable = 'MAYFLY_WORKER'
/** And by this one, what to print after the first start: `first`, or `dev`. */
export const firstStartVariable = 'MAYFLY_WORKER_FIRST'
/** The program that the supervisor is: a worker of another one must not touch its database. */
export const versionVariable = 'MAYFLY_WORKER_VERSION'
