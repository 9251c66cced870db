/**
 * Every difference between the two, with its reason. The test fails when one is not here, when one of these is a
 * difference no more, or when either side answers something else. `docs/second-opinion.md` is written from it.
 */

export interface Difference {
  /** Mayfly's answer: status and `error` code. */
  readonly mayfly: string
  /** oidc-provider's. */
  readonly peer: string
  /** Why they differ, for people. */
  readonly reason: string
  /** Where it is written. */
  readonly see: string
  /** The requests, by their id. */
  readonly ids: readonly string[]
}

const requests: readonly Difference[] = [
  {
    mayfly: '400 unauthorized_client',
    peer: '400 invalid_request',
    reason: 'the client may not use this grant: that is what `unauthorized_client` is for',
    see: 'RFC 6749 §5.2',
    ids: ['grant: not allowed to the client'],
  },
  {
    mayfly: '400 unauthorized_client',
    peer: '400 unsupported_grant_type',
    reason: 'Mayfly has refresh tokens, for clients that are registered for them; here neither side gives any',
    see: 'RFC 6749 §5.2',
    ids: ['grant: refresh_token', 'grant: refresh_token without a token'],
  },
  {
    mayfly: '400 unsupported_grant_type',
    peer: '401 invalid_client',
    reason: 'no order of checks is given; Mayfly looks at form and grant type before it looks for the client',
    see: 'RFC 6749 §3.2',
    ids: ['grant: unknown, by a client that is not known'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '401 invalid_client',
    reason: 'likewise, with no grant type at all',
    see: 'RFC 6749 §3.2',
    ids: ['grant: none, by a client that is not known'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'a form is UTF-8 and its type says nothing else; oidc-provider does not look at its parameters',
    see: 'RFC 6749 app. B',
    ids: [
      'type: charset=iso-8859-1',
      'type: charset=utf-16',
      'type: charset that does not exist',
      'type: two charsets',
      'type: another parameter',
    ],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'a field that may appear once was repeated; Node gives oidc-provider the first',
    see: 'RFC 9110 §5.3',
    ids: [
      'type: two headers',
      'type: two headers, the same',
      'basic: two headers, the same',
      'basic: two headers, two clients',
    ],
  },
  {
    mayfly: '400 invalid_request',
    peer: '401 invalid_client',
    reason: 'likewise, and the first is wrong',
    see: 'RFC 9110 §5.3',
    ids: ['basic: two headers, the second good'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'an encoded body is not read; oidc-provider takes its bytes as they are',
    see: 'RFC 9110 §8.4',
    ids: ['type: gzip that is none', 'type: encoding identity'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'a request has one Host, and it is a host: a server must answer 400 otherwise',
    see: 'RFC 9112 §3.2',
    ids: ['header: a host that is none', 'header: two hosts'],
  },
  {
    mayfly: '400 invalid_dpop_proof',
    peer: '200',
    reason:
      'a token is bound to the key of a good proof, and given to none with a bad one; oidc-provider has DPoP off here',
    see: 'RFC 9449 §5',
    ids: ['header: a DPoP proof that is none', 'header: two DPoP proofs'],
  },
  {
    mayfly: '200',
    peer: '400 invalid_request',
    reason:
      'oidc-provider refuses an origin that its settings do not allow; Mayfly sends no CORS headers from `/token`',
    see: 'Fetch standard',
    ids: ['header: an origin'],
  },
]

const clients: readonly Difference[] = [
  {
    mayfly: '200',
    peer: '400 invalid_request',
    reason: 'one space or more stand between scheme and credentials',
    see: 'RFC 9110 §11.4',
    ids: ['basic: two spaces'],
  },
  {
    mayfly: '401 invalid_client',
    peer: '400 invalid_request',
    reason: 'whoever tried to authenticate by the header and failed must get 401 with a challenge, however it failed',
    see: 'RFC 6749 §5.2',
    ids: [
      'basic: a tab',
      'basic: nothing behind the scheme',
      'basic: an empty token',
      'basic: not base64',
      'basic: words',
      'basic: something behind',
      'basic: too much padding',
      'basic: twice in one header',
      'basic: base64url',
      'basic: empty header',
      'basic: Bearer instead',
      'basic: DPoP instead',
      'basic: Digest instead',
      'basic: an unknown scheme',
      'basic: no scheme',
      'basic: 8,000 characters',
      'basic: no colon',
      'basic: no id',
      'basic: no secret',
      'basic: neither',
      'basic: bad escape in the id',
      'basic: bad escape in the secret',
      'basic: lone % behind the secret',
      'basic: escapes that are not UTF-8',
      'basic: raw latin-1',
      'basic: raw UTF-8',
      'basic: escaped UTF-8',
      'basic: NUL',
      'basic: newline',
    ],
  },
  {
    mayfly: '401 invalid_client',
    peer: '400 invalid_client',
    reason: 'likewise, with a secret that has expired',
    see: 'RFC 6749 §5.2',
    ids: ['basic: expired secret'],
  },
  {
    mayfly: '401 invalid_client',
    peer: '200',
    reason: 'base64 whose last bits are not zero is a second spelling of the same credentials',
    see: 'RFC 4648 §3.5',
    ids: ['basic: base64 with bits to spare'],
  },
  {
    mayfly: '401 invalid_client',
    peer: '200',
    reason: 'a client uses the method that it is registered for; oidc-provider takes Basic and post for one another',
    see: 'RFC 7591 §2',
    ids: ['basic: a client of client_secret_post'],
  },
  {
    mayfly: '400 invalid_client',
    peer: '200',
    reason: 'likewise, the other way round',
    see: 'RFC 7591 §2',
    ids: ['post: a client of client_secret_basic'],
  },
  {
    mayfly: '400 invalid_client',
    peer: '200',
    reason: 'client credentials are for confidential clients only: a public one must not get a token by its id alone',
    see: 'RFC 6749 §4.4',
    ids: ['post: public client by its id alone'],
  },
  {
    mayfly: '400 invalid_client',
    peer: '401 invalid_client',
    reason: 'a 401 needs a challenge, and one is only due to who sent the header; oidc-provider sends 401 without',
    see: 'RFC 9110 §15.5.2',
    ids: [
      'post: wrong secret',
      'post: unknown client',
      'post: no secret',
      'post: empty secret',
      'post: a space behind the id',
      'post: a space behind the secret',
      'post: 300 characters of id',
      'post: public client with a secret',
      'post: client_id of nobody alone',
      'assertion: with a client_id',
      'query: secret there, id in the body',
    ],
  },
  {
    mayfly: '400 invalid_client',
    peer: '400 invalid_request',
    reason: '“no client authentication included” and “unsupported authentication method” are `invalid_client`',
    see: 'RFC 6749 §5.2',
    ids: [
      'post: no id',
      'post: empty id',
      'post: nobody',
      'assertion: alone',
      'assertion: of a type that is not known',
      'query: id and secret there',
      'header: proxy credentials only',
    ],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'more than one method at once; oidc-provider has assertions off here and does not see them',
    see: 'RFC 6749 §2.3',
    ids: [
      'several: basic and an assertion',
      'several: basic and only the type of an assertion',
      'several: post and an assertion',
    ],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'an `Authorization` header without anything in it is a method too, and a failed one',
    see: 'RFC 6749 §2.3',
    ids: ['several: empty header and post'],
  },
]

const forms: readonly Difference[] = [
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'parameters must not repeat; oidc-provider looks at those that it knows',
    see: 'RFC 6749 §3.2',
    ids: ['form: unknown parameter twice', 'form: redirect_uri twice'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'a bad escape, or bytes that are not UTF-8, is not the encoding; oidc-provider reads on and guesses',
    see: 'RFC 6749 app. B',
    ids: [
      'form: bad escape',
      'form: % at the end',
      'form: half an escape',
      'form: bad escape in a name',
      'form: bad escape in a scope',
      'form: %FF',
      'form: truncated UTF-8',
      'form: overlong UTF-8',
      'form: a surrogate',
      'form: raw UTF-8',
      'form: raw latin-1',
    ],
  },
  {
    mayfly: '400 invalid_request',
    peer: '400 unsupported_grant_type',
    reason: 'a raw newline, or a NUL in whatever coat, is refused with the form; oidc-provider finds it in the value',
    see: 'RFC 6749 app. A, B',
    ids: ['form: a newline at the end', 'grant: a NUL behind'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '400 invalid_scope',
    reason: 'likewise',
    see: 'RFC 6749 app. A, B',
    ids: ['scope: NUL'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'likewise; oidc-provider drops what it does not know, and compares secrets filled up with NUL',
    see: 'RFC 6749 app. A, B',
    ids: ['form: NUL', 'form: raw NUL', 'post: NUL behind the secret'],
  },
  {
    mayfly: '400 invalid_request',
    peer: '200',
    reason: 'a limit of 100 parameters; oidc-provider reads 1,000 and forgets the others',
    see: '–',
    ids: ['form: 101 parameters', 'form: 1,500 parameters'],
  },
  {
    mayfly: '413 invalid_request',
    peer: '400 invalid_request',
    reason: 'a body above the limit has a status of its own',
    see: 'RFC 9110 §15.5.14',
    ids: ['size: 70 KiB', 'size: 300 KiB', 'size: 70 KiB in chunks'],
  },
  {
    mayfly: '200',
    peer: '400 invalid_request',
    reason: 'the limit is 64 KiB here and 56 KiB there',
    see: '–',
    ids: ['size: 60 KiB'],
  },
]

const targets: readonly Difference[] = [
  {
    mayfly: '400 invalid_scope',
    peer: '200',
    reason: 'a scope that is not defined is refused; oidc-provider leaves it out, as it may',
    see: 'RFC 6749 §3.3',
    ids: [
      'scope: one that is nobody',
      'scope: a good one and one that is nobody',
      'scope: in another case',
      'scope: a prefix',
      'scope: *',
      'scope: offline_access',
      'scope: a comma between',
      'scope: a raw + escaped',
    ],
  },
  {
    mayfly: '400 invalid_scope',
    peer: '200',
    reason: 'limits: 128 characters a scope, 256 scopes',
    see: '–',
    ids: ['scope: 129 characters', 'scope: 300 words'],
  },
  {
    mayfly: '400 invalid_target',
    peer: '200',
    reason: 'a token has one audience, and two values are two even when they are equal',
    see: 'RFC 8707 §2',
    ids: ['resource: twice the same'],
  },
  {
    mayfly: '200',
    peer: '400 invalid_target',
    reason: 'a parameter without a value counts as left out',
    see: 'RFC 6749 §3.2',
    ids: ['resource: twice, one empty'],
  },
  {
    mayfly: '400 invalid_target',
    peer: '200',
    reason:
      'every token has an audience, so a client of several names one; oidc-provider makes an opaque token without',
    see: 'RFC 9068 §2.2, §3',
    ids: ['resource: none, by a client of two', 'resource: none and no scope, by a client of two'],
  },
]

const endpoints: readonly Difference[] = [
  {
    mayfly: '405 invalid_request',
    peer: '404',
    reason: 'the endpoint exists and the method is not allowed there; `Allow` says which is',
    see: 'RFC 9110 §15.5.6',
    ids: [
      ...['RFC 8414', 'discovery', 'jwks', 'authorize'].flatMap((name) =>
        ['PUT', 'PATCH', 'DELETE', 'POST'].map((method) => `method: ${method} ${name}`),
      ),
      ...['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((method) => `method: ${method} token`),
      'method: OPTIONS authorize',
      'method: GET token with a query of credentials',
      'method: PUT token with all of it',
      'method: GET token with all of it',
      'method: PATCH token with all of it',
      'method: GET that says it is POST',
    ],
  },
  {
    mayfly: '405',
    peer: '404',
    reason: 'likewise, without a body',
    see: 'RFC 9110 §15.5.6',
    ids: ['method: HEAD token'],
  },
  {
    mayfly: '204',
    peer: '404',
    reason: 'OPTIONS asks what is allowed, from another origin or not; oidc-provider answers preflights only',
    see: 'RFC 9110 §9.3.7',
    ids: ['method: OPTIONS RFC 8414', 'method: OPTIONS discovery', 'method: OPTIONS jwks'],
  },
  {
    mayfly: '405 invalid_request',
    peer: '204',
    reason: 'no page of a browser asks for tokens here; oidc-provider leaves the origin to the request itself',
    see: 'Fetch standard',
    ids: ['method: preflight of token'],
  },
  {
    mayfly: '304',
    peer: '200',
    reason: 'the documents have an `ETag`, for verifiers that fetch keys at each request',
    see: 'RFC 9110 §13.1.2',
    ids: ['method: GET jwks that is known'],
  },
  {
    mayfly: '404 not_found',
    peer: '200',
    reason:
      'only the published spelling of a path reaches an endpoint, so that no rule of a proxy can be written around',
    see: 'RFC 3986 §6.2.2.1',
    ids: [
      'path: discovery with a slash behind',
      'path: jwks in upper case',
      'path: token with a slash behind',
      'path: token in upper case',
    ],
  },
  {
    mayfly: '404 not_found',
    peer: '404',
    reason: 'an error body is JSON here, for paths that are not there too; the code is not a registered one',
    see: '–',
    ids: [
      'path: RFC 8414 of a tenant',
      'path: jwks escaped',
      'path: root',
      'path: unknown',
      'path: bad escape',
      'path: .well-known',
      'path: protected resource metadata',
      'path: dots',
      'path: unknown, with all of it',
      'path: token with two slashes before',
      'path: token escaped',
      'path: token with a parameter',
      'path: token below a folder that is not',
      'path: register',
      'path: userinfo',
    ],
  },
  {
    mayfly: '431 invalid_request',
    peer: '431',
    reason: 'likewise, where Node answers by itself',
    see: 'RFC 6585 §5',
    ids: ['basic: 20,000 characters'],
  },
  {
    mayfly: '417 invalid_request',
    peer: '417',
    reason: 'likewise',
    see: 'RFC 9110 §15.5.18',
    ids: ['header: Expect of something'],
  },
  {
    mayfly: '400 unsupported_response_type',
    peer: '400 invalid_redirect_uri',
    reason: 'no people log in here: `/authorize` refuses whatever it is asked, and redirects nobody',
    see: 'RFC 8414 §2',
    ids: [
      'authorize: code',
      'authorize: token',
      'authorize: none',
      'authorize: no response_type',
      'authorize: response_type twice',
    ],
  },
  {
    mayfly: '400 unsupported_response_type',
    peer: '400 invalid_client',
    reason: 'likewise',
    see: 'RFC 8414 §2',
    ids: ['authorize: unknown client'],
  },
  {
    mayfly: '400 unsupported_response_type',
    peer: '400 invalid_request',
    reason: 'likewise',
    see: 'RFC 8414 §2',
    ids: ['method: GET authorize', 'authorize: no client'],
  },
]

/** By what they are about. */
export const differences: Readonly<Record<string, readonly Difference[]>> = {
  'The request': requests,
  'The client': clients,
  'The form': forms,
  'Scope and resource': targets,
  'Endpoints and methods': endpoints,
}
