/** As much of oidc-provider as the benchmark uses; it comes without types. */
declare module 'oidc-provider' {
  import type { Server } from 'node:http'

  export class Provider {
    constructor(issuer: string, configuration: object)
    listen(port: number, host: string, listening: () => void): Server
    on(event: string, listener: (context: unknown, error: Error) => void): this
  }
}
