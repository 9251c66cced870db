import type { RequestRecord } from './request.ts'

/** One thing that must be well for requests to be served. `detail` is for people and holds nothing secret. */
export interface Check {
  readonly name: string
  readonly ok: boolean
  readonly detail?: string
  /** Something that somebody should look at, while requests are served. */
  readonly warning?: string
}

/** Answers a probe: 200 or 503; with the checks when asked for them. */
export function answerHealth(record: RequestRecord, checks: readonly Check[], verbose: boolean): Response {
  const ok = checks.every((check) => check.ok)
  const status = ok ? 'ok' : 'unavailable'
  const body = verbose ? { status, checks } : { status }
  return new Response(JSON.stringify(body), {
    status: ok ? 200 : 503,
    headers: {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-request-id': record.requestId,
      ...(ok ? {} : { 'retry-after': '1' }),
    },
  })
}
