/** Certificates for both sides of a connection, and one request over it. */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { buffer } from 'node:stream/consumers'
import { makeAuthority, makeIdentity, makeServerIdentity, writeTlsFiles } from '../../test/support/certificates.ts'
import type { ClientTls, LoadRequest } from './load.ts'

/** The name that the client is registered by. */
export const clientName = 'billing.example.com'

export interface TlsParties {
  readonly client: ClientTls
  /** PEM; `ca` is the authority of the clients. */
  readonly server: { readonly cert: string; readonly key: string; readonly ca: string }
  /** Writes what Mayfly serves with; returns its settings. */
  writeFiles(folder: string): Readonly<Record<string, string>>
}

/** P-256 throughout; each side has an authority of its own. */
export async function makeParties(): Promise<TlsParties> {
  const [clients, servers] = [await makeAuthority(), await makeAuthority({ subject: 'CN=Servers' })]
  const server = await makeServerIdentity(servers)
  const client = await makeIdentity({ by: clients, dns: [clientName] })
  return {
    client: { cert: client.cert, key: client.key, ca: servers.cert },
    server: { cert: server.cert, key: server.key, ca: clients.cert },
    writeFiles: (folder) => writeTlsFiles(folder, server, [clients]),
  }
}

/** Sends one request on a connection of its own. */
export async function sendOverTls(
  url: string,
  { method, headers, body }: LoadRequest,
  tls: ClientTls,
): Promise<Response> {
  const outgoing = request(url, { method, headers: { ...headers }, agent: new Agent({ keepAlive: false }), ...tls })
  outgoing.end(body)
  const [reply] = (await once(outgoing, 'response')) as [IncomingMessage]
  return new Response(new Uint8Array(await buffer(reply)), { status: reply.statusCode ?? 0 })
}
