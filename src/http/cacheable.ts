import { hash } from 'node:crypto'
import type { RequestRecord } from './request.ts'

/** A document that the whole world may read and keep for a while. */
export interface Document {
  readonly body: string
  readonly contentType: string
  readonly etag: string
}

export function makeDocument(json: object, contentType: string): Document {
  const body = JSON.stringify(json)
  return { body, contentType, etag: `"${hash('sha256', body, 'base64url').slice(0, 22)}"` }
}

/** Answers with a document, or with 304 when the caller has it already (RFC 9110 section 13.1.2). */
export function answerDocument(record: RequestRecord, document: Document, maxAgeSeconds: number): Response {
  const headers = {
    'content-type': document.contentType,
    'cache-control': `public, max-age=${maxAgeSeconds}`,
    etag: document.etag,
    'access-control-allow-origin': '*',
    'x-request-id': record.requestId,
  }
  const known = record.incoming.headers['if-none-match']
  if (known !== undefined && matchesEtag(known, document.etag)) return new Response(null, { status: 304, headers })
  return new Response(document.body, { headers })
}

function matchesEtag(header: string, etag: string): boolean {
  return header.split(',').some((candidate) => {
    const tag = candidate.trim().replace(/^W\//, '')
    return tag === '*' || tag === etag
  })
}
