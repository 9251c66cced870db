/** The little of oidc-provider that is used here; it comes without types. */
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http'

  export class Provider {
    constructor(issuer: string, configuration: object)
    callback(): RequestListener
  }

  export const errors: { readonly InvalidTarget: new (description?: string) => Error }
}
