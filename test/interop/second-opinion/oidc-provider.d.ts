/** The little of oidc-provider that the second opinion and the benchmark use; it comes without types. */
declare module 'oidc-provider' {
  import type { RequestListener, Server } from 'node:http'

  interface Saved {
    save(): Promise<string>
  }

  export class Provider {
    use(middleware: (context: { path: string; body: unknown }, next: () => Promise<void>) => Promise<void>): void
    readonly Client: { find(clientId: string): Promise<object | undefined> }
    readonly Grant: new (
      of: object,
    ) => Saved & { addResourceScope(resource: string, scope: string): void }
    readonly RefreshToken: new (
      of: object,
    ) => Saved
    constructor(issuer: string, configuration: object)
    callback(): RequestListener
    listen(port: number, host: string, listening: () => void): Server
    on(event: string, listener: (context: unknown, error: Error) => void): this
  }

  export const errors: { readonly InvalidTarget: new (description?: string) => Error }
}
