/** Clients that ask for tokens as fast as they are answered, each on a connection that it keeps. */
import { Agent, request as httpRequest } from 'node:http'

const body = 'grant_type=client_credentials'

export interface Outcome {
  readonly status?: number
  readonly token?: string
  /** The code of the error that ended the request without a whole reply. */
  readonly error?: string
}

/** Asks for a token on a kept connection. Never rejects. */
export function ask(url: string, authorization: string, agent: Agent): Promise<Outcome> {
  return new Promise((resolve) => {
    const headers = {
      authorization,
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': body.length,
    }
    const call = httpRequest(`${url}/token`, { method: 'POST', agent, headers }, (reply) => {
      let text = ''
      reply.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      reply.on('end', () => {
        const { access_token: token } = JSON.parse(text) as { access_token?: string }
        resolve({ status: reply.statusCode ?? 0, ...(token === undefined ? {} : { token }) })
      })
      reply.on('error', (error) => resolve({ error: error.message }))
    })
    call.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? error.message }))
    call.end(body)
  })
}

export interface Load {
  /** Lets the requests that are under way end, and begins no more. */
  stop(): Promise<void>
}

/** Begins. A client goes away when its connection fails. */
export function startLoad(
  { url }: { readonly url: string },
  authorization: string,
  connections: number,
  onOutcome: (outcome: Outcome) => void,
): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  let going = true
  const clients = Array.from({ length: connections }, async () => {
    while (going) {
      const outcome = await ask(url, authorization, agent)
      onOutcome(outcome)
      if (outcome.error !== undefined) return
    }
  })
  return {
    stop: async () => {
      going = false
      await Promise.all(clients)
      agent.destroy()
    },
  }
}
