/** The little of oidc-provider that the second opinion and the benchmark use; it comes without types. */
declare module 'oidc-provider' {
  import type { RequestListener, Server } from 'node:http'

  export class Provider {
    constructor(issuer: string, configuration: object)
    callback(): RequestListener
    listen(port: number, host: string, listening: () => void): Server
    on(event: string, listener: (context: unknown, error: Error) => void): this
  }

  export const errors: { readonly InvalidTarget: new (description?: string) => Error }
}
