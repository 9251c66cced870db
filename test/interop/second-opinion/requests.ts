/**
 * The requests that both sides are asked, as data. `{name}` stands for the secret of that client, and `b64(…)` in a
 * header for the base64 of what is in it. Bodies and headers are written byte by byte, as latin-1.
 */

export interface Row {
  /** What is asked, and what is special about it. */
  readonly id: string
  readonly method: string
  readonly path: string
  /** `id:secret` as it stands inside Basic, for each `Authorization` header. */
  readonly basic?: string | readonly string[]
  readonly type?: string | readonly string[]
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: string
  readonly isChunked?: boolean
}

type Changes = Partial<Omit<Row, 'id' | 'body'>> & { readonly anonymous?: true; readonly untyped?: true }

const form = 'application/x-www-form-urlencoded'
const grant = 'grant_type=client_credentials'
const apiUri = 'https%3A%2F%2Fapi.example.test'
const otherUri = 'https%3A%2F%2Fother.example.test'
const jwtBearer = 'client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer'

/** `POST /token` as the client `billing` with a form, unless told otherwise. */
function token(id: string, body: string, { anonymous, untyped, ...changes }: Changes = {}): Row {
  const basic = anonymous ? {} : { basic: 'billing:{billing}' }
  return { id, method: 'POST', path: '/token', ...basic, ...(untyped ? {} : { type: form }), body, ...changes }
}

/** A good grant with something more behind it. */
const more = (id: string, rest: string, changes: Changes = {}): Row => token(id, `${grant}&${rest}`, changes)

/** A good body with an `Authorization` header as given, byte by byte. */
const header = (id: string, value: string): Row =>
  token(id, grant, { anonymous: true, headers: [['authorization', value]] })

/** A good body with `id:secret` inside Basic. */
const basic = (id: string, credentials: string | readonly string[], rest = ''): Row =>
  token(id, `${grant}${rest}`, { basic: credentials })

/** A good grant with credentials in the body, or wherever. */
const posted = (id: string, rest: string, changes: Changes = {}): Row =>
  token(id, rest === '' ? grant : `${grant}&${rest}`, { anonymous: true, ...changes })

const plain = (id: string, method: string, path: string, headers: Row['headers'] = []): Row => ({
  id,
  method,
  path,
  headers,
})

const grantRows: readonly Row[] = [
  token('grant: client_credentials', grant),
  token('grant: none', ''),
  token('grant: only a scope', 'scope=read'),
  token('grant: empty', 'grant_type='),
  token('grant: without =', 'grant_type'),
  token('grant: password', 'grant_type=password&username=a&password=b'),
  token('grant: authorization_code', 'grant_type=authorization_code&code=x&redirect_uri=https%3A%2F%2Fa.test'),
  token('grant: refresh_token', 'grant_type=refresh_token&refresh_token=x'),
  token('grant: refresh_token without a token', 'grant_type=refresh_token'),
  token('grant: implicit', 'grant_type=implicit'),
  token('grant: jwt-bearer', 'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c'),
  token('grant: token-exchange', 'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange'),
  token('grant: device_code', 'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code'),
  token('grant: saml2-bearer', 'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer'),
  token('grant: a name that nobody has', 'grant_type=urn%3Ax'),
  token('grant: in upper case', 'grant_type=CLIENT_CREDENTIALS'),
  token('grant: capitalised', 'grant_type=Client_Credentials'),
  token('grant: a space before', 'grant_type=+client_credentials'),
  token('grant: a space behind', 'grant_type=client_credentials+'),
  token('grant: a newline behind', 'grant_type=client_credentials%0A'),
  token('grant: a NUL behind', 'grant_type=client_credentials%00'),
  token('grant: in quotes', 'grant_type=%22client_credentials%22'),
  token('grant: a letter that looks alike', 'grant_type=cl%D1%96ent_credentials'),
  token('grant: 1,000 characters', `grant_type=${'a'.repeat(1000)}`),
  token('grant: constructor', 'grant_type=constructor'),
  token('grant: __proto__', 'grant_type=__proto__'),
  token('grant: twice the same', `${grant}&${grant}`),
  token('grant: twice, two', `${grant}&grant_type=password`),
  token('grant: twice, one empty', `${grant}&grant_type=`),
  token('grant: with brackets', 'grant_type%5B%5D=client_credentials'),
  token('grant: name in upper case', 'GRANT_TYPE=client_credentials'),
  token('grant: name escaped', 'grant%5Ftype=client_credentials'),
  token('grant: value escaped', 'grant_type=client%5fcredentials'),
  token('grant: not allowed to the client', grant, { basic: 'idle:{idle}' }),
  token('grant: unknown, by a client that is not known', 'grant_type=urn%3Ax', { basic: 'nobody:x' }),
  token('grant: none, by a client that is not known', '', { basic: 'nobody:x' }),
]

const typeRows: readonly Row[] = [
  token('type: charset=utf-8', grant, { type: `${form};charset=utf-8` }),
  token('type: charset=UTF-8', grant, { type: `${form}; charset=UTF-8` }),
  token('type: charset in quotes', grant, { type: `${form}; charset="utf-8"` }),
  token('type: mixed case', grant, { type: 'Application/X-WWW-Form-Urlencoded' }),
  token('type: charset=iso-8859-1', grant, { type: `${form}; charset=iso-8859-1` }),
  token('type: charset=utf-16', grant, { type: `${form}; charset=utf-16` }),
  token('type: charset that does not exist', grant, { type: `${form}; charset=klingon` }),
  token('type: two charsets', grant, { type: `${form}; charset=utf-8; charset=utf-16` }),
  token('type: another parameter', grant, { type: `${form}; boundary=x` }),
  token('type: a semicolon at the end', grant, { type: `${form};` }),
  token('type: none', grant, { untyped: true }),
  token('type: empty', grant, { type: '' }),
  token('type: JSON', '{"grant_type":"client_credentials"}', { type: 'application/json' }),
  token('type: JSON, with a form', grant, { type: 'application/json' }),
  token('type: form, with JSON', '{"grant_type":"client_credentials"}'),
  token(
    'type: multipart',
    '--x\r\ncontent-disposition: form-data; name="grant_type"\r\n\r\nclient_credentials\r\n--x--\r\n',
    {
      type: 'multipart/form-data; boundary=x',
    },
  ),
  token('type: text/plain', grant, { type: 'text/plain' }),
  token('type: octet-stream', grant, { type: 'application/octet-stream' }),
  token('type: a longer name', grant, { type: `${form}2` }),
  token('type: two in one', grant, { type: `${form}, application/json` }),
  token('type: two headers', grant, { type: [form, 'application/json'] }),
  token('type: two headers, the same', grant, { type: [form, form] }),
  token('type: JSON first of two headers', grant, { type: ['application/json', form] }),
  token('type: gzip that is none', grant, { headers: [['content-encoding', 'gzip']] }),
  token('type: encoding identity', grant, { headers: [['content-encoding', 'identity']] }),
  token('type: sent in chunks', grant, { isChunked: true, headers: [['transfer-encoding', 'chunked']] }),
  { id: 'type: no body at all', method: 'POST', path: '/token', basic: 'billing:{billing}', type: form },
  { id: 'type: neither body nor type', method: 'POST', path: '/token', basic: 'billing:{billing}' },
]

const basicRows: readonly Row[] = [
  header('basic: scheme in lower case', 'basic b64(billing:{billing})'),
  header('basic: scheme in upper case', 'BASIC b64(billing:{billing})'),
  header('basic: two spaces', 'Basic  b64(billing:{billing})'),
  header('basic: a tab', 'Basic\tb64(billing:{billing})'),
  header('basic: a space behind', 'Basic b64(billing:{billing}) '),
  header('basic: nothing behind the scheme', 'Basic'),
  header('basic: an empty token', 'Basic b64()'),
  header('basic: not base64', 'Basic !!!'),
  header('basic: words', 'Basic billing {billing}'),
  header('basic: something behind', 'Basic b64(billing:{billing}) x'),
  header('basic: too much padding', 'Basic b64(billing:{billing})=='),
  header('basic: twice in one header', 'Basic b64(billing:{billing}), Basic b64(billing:{billing})'),
  header('basic: base64 without its padding', 'Basic b2RkOnAlMkJ3JTI1MkIlM0ErJTJGJTNEfiUyMg'),
  header('basic: base64url', 'Basic b2RkOnAlMkJ3JTI1MkIlM0ElMjAlMkYlM0R-JTIy'),
  header('basic: base64 with bits to spare', 'Basic b2RkOnAlMkJ3JTI1MkIlM0ErJTJGJTNEfiUyMh=='),
  header('basic: empty header', ''),
  header('basic: Bearer instead', 'Bearer {billing}'),
  header('basic: DPoP instead', 'DPoP a.b.c'),
  header('basic: Digest instead', 'Digest username="billing"'),
  header('basic: an unknown scheme', 'Mayfly b64(billing:{billing})'),
  header('basic: no scheme', 'b64(billing:{billing})'),
  header('basic: 8,000 characters', `Basic ${'a'.repeat(8000)}`),
  header('basic: 20,000 characters', `Basic ${'a'.repeat(20_000)}`),
  basic('basic: no colon', 'billing'),
  basic('basic: no id', ':{billing}'),
  basic('basic: no secret', 'billing:'),
  basic('basic: neither', ':'),
  basic('basic: wrong secret', 'billing:wrong'),
  basic('basic: wrong secret of our own form', 'billing:{poster}'),
  basic('basic: something before the secret', 'billing:x{billing}'),
  basic('basic: unknown client', 'nobody:{billing}'),
  basic('basic: id in another case', 'Billing:{billing}'),
  basic('basic: id with a space', 'billing+:{billing}'),
  basic('basic: expired secret', 'expired:{expired}'),
  basic('basic: a client of client_secret_post', 'poster:{poster}'),
  basic('basic: a public client', 'public:{public}'),
  basic('basic: a colon behind the secret', 'billing:{billing}:'),
  basic('basic: id escaped', '%62illing:{billing}'),
  basic('basic: bad escape in the id', 'billing%ZZ:{billing}'),
  basic('basic: bad escape in the secret', 'billing:{billing}%ZZ'),
  basic('basic: lone % behind the secret', 'billing:{billing}%'),
  basic('basic: escapes that are not UTF-8', 'billing:%FF%FE'),
  basic('basic: raw latin-1', 'billing:\xE9'),
  basic('basic: raw UTF-8', 'billing:\xC3\xA9'),
  basic('basic: escaped UTF-8', 'billing:%C3%A9'),
  basic('basic: NUL', 'billing:{billing}%00'),
  basic('basic: newline', 'billing:{billing}%0A'),
  basic('basic: odd secret, form-encoded', 'odd:p%2Bw%252B%3A+%2F%3D~%22'),
  basic('basic: odd secret, with %20', 'odd:p%2Bw%252B%3A%20%2F%3D~%22'),
  basic('basic: odd secret, in lower-case escapes', 'odd:p%2bw%252B%3a+%2f%3d%7e%22'),
  basic('basic: odd secret, raw', 'odd:p+w%2B: /=~"'),
  basic('basic: odd secret, its colon raw', 'odd:p%2Bw%252B:+%2F%3D~%22'),
  basic('basic: two headers, the same', ['billing:{billing}', 'billing:{billing}']),
  basic('basic: two headers, two clients', ['billing:{billing}', 'reader:{reader}']),
  basic('basic: two headers, the second good', ['billing:wrong', 'billing:{billing}']),
  basic('basic: the same client_id beside it', 'billing:{billing}', '&client_id=billing'),
  basic('basic: another client_id beside it', 'billing:{billing}', '&client_id=reader'),
  basic('basic: an unknown client_id beside it', 'billing:{billing}', '&client_id=nobody'),
  basic('basic: an empty client_id beside it', 'billing:{billing}', '&client_id='),
  basic('basic: client_id twice beside it', 'billing:{billing}', '&client_id=billing&client_id=billing'),
]

const postRows: readonly Row[] = [
  posted('post: good', 'client_id=poster&client_secret={poster}'),
  posted('post: wrong secret', 'client_id=poster&client_secret=wrong'),
  posted('post: unknown client', 'client_id=nobody&client_secret=wrong'),
  posted('post: no secret', 'client_id=poster'),
  posted('post: empty secret', 'client_id=poster&client_secret='),
  posted('post: no id', 'client_secret={poster}'),
  posted('post: empty id', 'client_id=&client_secret={poster}'),
  posted('post: id twice', 'client_id=poster&client_id=poster&client_secret={poster}'),
  posted('post: secret twice', 'client_id=poster&client_secret={poster}&client_secret={poster}'),
  posted('post: two secrets', 'client_id=poster&client_secret=wrong&client_secret={poster}'),
  posted('post: a client of client_secret_basic', 'client_id=billing&client_secret={billing}'),
  posted('post: expired secret', 'client_id=expired&client_secret={expired}'),
  posted('post: id escaped', 'client_id=%70oster&client_secret={poster}'),
  posted('post: a space behind the id', 'client_id=poster+&client_secret={poster}'),
  posted('post: a space behind the secret', 'client_id=poster&client_secret={poster}+'),
  posted('post: NUL behind the secret', 'client_id=poster&client_secret={poster}%00'),
  posted('post: 300 characters of id', `client_id=${'a'.repeat(300)}&client_secret=x`),
  posted('post: public client by its id alone', 'client_id=public'),
  posted('post: public client with a secret', 'client_id=public&client_secret=x'),
  posted('post: nobody', ''),
  posted('post: client_id of nobody alone', 'client_id=nobody'),
  more('several: basic and post, one client', 'client_id=billing&client_secret={billing}'),
  more('several: basic and post, two clients', 'client_id=poster&client_secret={poster}'),
  more('several: basic and a secret', 'client_secret={billing}'),
  more('several: basic and an empty secret', 'client_id=billing&client_secret='),
  more('several: basic and an assertion', `${jwtBearer}&client_assertion=a.b.c`),
  more('several: basic and only the type of an assertion', jwtBearer),
  posted(
    'several: post and an assertion',
    `client_id=poster&client_secret={poster}&${jwtBearer}&client_assertion=a.b.c`,
  ),
  posted('several: bearer and post', 'client_id=poster&client_secret={poster}', {
    headers: [['authorization', 'Bearer x']],
  }),
  posted('several: empty header and post', 'client_id=poster&client_secret={poster}', {
    headers: [['authorization', '']],
  }),
  posted('assertion: alone', `${jwtBearer}&client_assertion=a.b.c`),
  posted('assertion: with a client_id', `client_id=billing&${jwtBearer}&client_assertion=a.b.c`),
  posted('assertion: without its type', 'client_assertion=a.b.c'),
  posted('assertion: of a type that is not known', 'client_assertion_type=x&client_assertion=a.b.c'),
  posted('query: id and secret there', '', { path: '/token?client_id=poster&client_secret={poster}' }),
  posted('query: secret there, id in the body', 'client_id=poster', { path: '/token?client_secret={poster}' }),
  { ...token('query: all of it there, and no body', ''), path: `/token?${grant}` },
  { ...token('query: grant_type there too', grant), path: '/token?grant_type=password' },
  { ...token('query: scope there', grant), path: '/token?scope=admin' },
  { ...token('query: a parameter that nobody knows', grant), path: '/token?foo=bar' },
  { ...token('query: empty', grant), path: '/token?' },
]

const count = (n: number): string => Array.from({ length: n }, (_, i) => `p${i}=x`).join('&')

const formRows: readonly Row[] = [
  more('form: unknown parameter', 'foo=bar'),
  more('form: unknown parameter twice', 'foo=bar&foo=baz'),
  more('form: parameters of other grants', 'code=x&redirect_uri=https%3A%2F%2Fa.test&username=u&password=p'),
  more('form: redirect_uri twice', 'redirect_uri=a&redirect_uri=b'),
  more('form: claims that somebody would like', 'sub=root&aud=x&exp=9999999999&expires_in=999999&client=x'),
  more('form: __proto__', '__proto__=x'),
  more('form: constructor', 'constructor=x&toString=y'),
  more('form: brackets', 'scope[a]=admin&a[b][c]=d'),
  more('form: request and request_uri', 'request=a.b.c&request_uri=https%3A%2F%2Fevil.test'),
  more('form: authorization_details', 'authorization_details=%5B%7B%22type%22%3A%22x%22%7D%5D'),
  more('form: dpop_jkt', 'dpop_jkt=x'),
  more('form: 99 parameters', count(98)),
  more('form: 101 parameters', count(100)),
  more('form: 1,500 parameters', count(1499)),
  more('form: no name', '=x'),
  more('form: & at the end', ''),
  token('form: & at the beginning', `&${grant}`),
  token('form: only &', '&&&'),
  token('form: semicolons', `foo=bar;${grant}`),
  token('form: a BOM', `\xEF\xBB\xBF${grant}`),
  token('form: a newline at the end', `${grant}\r\n`),
  token('form: a space at the end', `${grant} `),
  token('form: a question mark before', `?${grant}`),
  more('form: bad escape', 'foo=%ZZ'),
  more('form: % at the end', 'foo=%'),
  more('form: half an escape', 'foo=%2'),
  more('form: bad escape in a name', '%ZZ=foo'),
  more('form: %FF', 'foo=%FF'),
  more('form: truncated UTF-8', 'foo=%E2%82'),
  more('form: overlong UTF-8', 'foo=%C0%AF'),
  more('form: a surrogate', 'foo=%ED%A0%80'),
  more('form: UTF-8', 'foo=%E2%82%AC'),
  more('form: NUL', 'foo=%00'),
  more('form: raw NUL', 'foo=\x00'),
  more('form: raw UTF-8', 'foo=\xE2\x82\xAC'),
  more('form: raw latin-1', 'foo=\xE9'),
  more('form: raw space', 'foo=a b'),
  more('form: raw <, > and "', 'foo=<"a">'),
  more('form: bad escape in a scope', 'scope=%ZZ'),
  more('form: = in a value', 'foo=a=b'),
  more('size: 50 KiB', `foo=${'a'.repeat(50 * 1024)}`),
  more('size: 60 KiB', `foo=${'a'.repeat(60 * 1024)}`),
  more('size: 70 KiB', `foo=${'a'.repeat(70 * 1024)}`),
  more('size: 300 KiB', `foo=${'a'.repeat(300 * 1024)}`),
  more('size: 70 KiB in chunks', `foo=${'a'.repeat(70 * 1024)}`, {
    isChunked: true,
    headers: [['transfer-encoding', 'chunked']],
  }),
]

const scopeRows: readonly Row[] = [
  more('scope: one', 'scope=read'),
  more('scope: both', 'scope=read+write'),
  more('scope: both, with %20', 'scope=read%20write'),
  more('scope: in another order', 'scope=write+read'),
  more('scope: the same twice in one', 'scope=read+read'),
  more('scope: one that the client may not have', 'scope=admin'),
  more('scope: a good one and one that it may not have', 'scope=read+admin'),
  more('scope: a good one, by a client that may have less', 'scope=write', { basic: 'reader:{reader}' }),
  more('scope: one of another resource', 'scope=other%3Aread'),
  more('scope: one that is nobody', 'scope=nothing'),
  more('scope: a good one and one that is nobody', 'scope=read+nothing'),
  more('scope: in another case', 'scope=READ'),
  more('scope: a prefix', 'scope=rea'),
  more('scope: *', 'scope=*'),
  more('scope: openid', 'scope=openid'),
  more('scope: offline_access', 'scope=offline_access'),
  more('scope: empty', 'scope='),
  more('scope: without =', 'scope'),
  more('scope: a space', 'scope=+'),
  more('scope: two spaces between', 'scope=read++write'),
  more('scope: a space before', 'scope=+read'),
  more('scope: a space behind', 'scope=read+'),
  more('scope: a tab between', 'scope=read%09write'),
  more('scope: a newline between', 'scope=read%0Awrite'),
  more('scope: a no-break space between', 'scope=read%C2%A0write'),
  more('scope: a comma between', 'scope=read,write'),
  more('scope: a raw + escaped', 'scope=read%2Bwrite'),
  more('scope: quotes', 'scope=%22read%22'),
  more('scope: a backslash', 'scope=read%5C'),
  more('scope: not ASCII', 'scope=caf%C3%A9'),
  more('scope: DEL', 'scope=read%7F'),
  more('scope: NUL', 'scope=read%00'),
  more('scope: 129 characters', `scope=${'a'.repeat(129)}`),
  more('scope: 300 words', `scope=${Array.from({ length: 300 }, () => 'read').join('+')}`),
  more('scope: twice the same', 'scope=read&scope=read'),
  more('scope: twice, two', 'scope=read&scope=write'),
  more('scope: twice, one empty', 'scope=read&scope='),
  more('scope: JSON', 'scope=%5B%22read%22%5D'),
]

const multi = { basic: 'multi:{multi}' } as const

const resourceRows: readonly Row[] = [
  more('resource: the one', `resource=${apiUri}`),
  more('resource: with a scope', `resource=${apiUri}&scope=read`),
  more('resource: with a scope of another', `resource=${apiUri}&scope=other%3Aread`),
  more('resource: unknown', 'resource=https%3A%2F%2Funknown.example.test'),
  more('resource: not of this client', `resource=${otherUri}`),
  more('resource: a slash behind', `resource=${apiUri}%2F`),
  more('resource: host in upper case', 'resource=https%3A%2F%2FAPI.example.test'),
  more('resource: scheme in upper case', 'resource=HTTPS%3A%2F%2Fapi.example.test'),
  more('resource: default port', `resource=${apiUri}%3A443`),
  more('resource: http', 'resource=http%3A%2F%2Fapi.example.test'),
  more('resource: a path', `resource=${apiUri}%2Fv1`),
  more('resource: a query', `resource=${apiUri}%3Fa%3Db`),
  more('resource: a fragment', `resource=${apiUri}%23a`),
  more('resource: an empty fragment', `resource=${apiUri}%23`),
  more('resource: a user', 'resource=https%3A%2F%2Fu%40api.example.test'),
  more('resource: a space before', `resource=+${apiUri}`),
  more('resource: a space behind', `resource=${apiUri}+`),
  more('resource: a newline behind', `resource=${apiUri}%0A`),
  more('resource: not escaped', 'resource=https://api.example.test'),
  more('resource: relative', 'resource=%2Fapi'),
  more('resource: without a scheme', 'resource=api.example.test'),
  more('resource: scheme-relative', 'resource=%2F%2Fapi.example.test'),
  more('resource: only a scheme', 'resource=https%3A'),
  more('resource: a word', 'resource=api'),
  more('resource: a URN', 'resource=urn%3Aexample%3Aapi'),
  more('resource: javascript', 'resource=javascript%3Aalert(1)'),
  more('resource: data', 'resource=data%3A%2Cx'),
  more('resource: a host that is not ASCII', 'resource=https%3A%2F%2Fapi.ex%C3%A4mple.test'),
  more('resource: a backslash', 'resource=https%3A%5C%5Capi.example.test'),
  more('resource: bad escape inside', 'resource=https%3A%2F%2Fapi.example.test%2F%25ZZ'),
  more('resource: bad port', 'resource=https%3A%2F%2Fapi.example.test%3A99999'),
  more('resource: 600 characters', `resource=${apiUri}%2F${'a'.repeat(600)}`),
  more('resource: constructor', 'resource=constructor'),
  more('resource: empty', 'resource='),
  more('resource: a space', 'resource=+'),
  more('resource: twice the same', `resource=${apiUri}&resource=${apiUri}`),
  more('resource: twice, one unknown', `resource=${apiUri}&resource=https%3A%2F%2Funknown.example.test`),
  more('resource: twice, one empty', `resource=${apiUri}&resource=`),
  more('resource: with brackets', `resource%5B%5D=${apiUri}`),
  more('resource: none, by a client of two', 'scope=read', multi),
  more('resource: none and no scope, by a client of two', 'foo=bar', multi),
  more('resource: the first of two', `resource=${apiUri}`, multi),
  more('resource: the second of two', `resource=${otherUri}`, multi),
  more('resource: both', `resource=${apiUri}&resource=${otherUri}`, multi),
  more('resource: both and a scope', `resource=${apiUri}&resource=${otherUri}&scope=read`, multi),
  more('resource: audience instead', `audience=${apiUri}`),
  more('resource: an unknown audience instead', 'audience=https%3A%2F%2Funknown.example.test'),
  more('resource: audience twice', `audience=${apiUri}&audience=${otherUri}`),
]

const documents = {
  'RFC 8414': '/.well-known/oauth-authorization-server',
  discovery: '/.well-known/openid-configuration',
  jwks: '/.well-known/jwks.json',
  authorize: '/authorize',
  token: '/token',
}

const methodRows: readonly Row[] = Object.entries(documents).flatMap(([name, path]) =>
  ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', ...(name === 'token' ? [] : ['POST'])].map((method) =>
    plain(`method: ${method} ${name}`, method, path),
  ),
)

const authorizeQuery = 'client_id=billing&redirect_uri=https%3A%2F%2Fevil.test&state=x'

const pathRows: readonly Row[] = [
  plain(
    'method: GET token with a query of credentials',
    'GET',
    `/token?${grant}&client_id=poster&client_secret={poster}`,
  ),
  { ...token('method: PUT token with all of it', grant), method: 'PUT' },
  { ...token('method: GET token with all of it', grant), method: 'GET' },
  { ...token('method: PATCH token with all of it', grant), method: 'PATCH' },
  { ...token('method: GET that says it is POST', grant), method: 'GET', headers: [['x-http-method-override', 'POST']] },
  plain('method: preflight of token', 'OPTIONS', '/token', [
    ['origin', 'https://evil.test'],
    ['access-control-request-method', 'POST'],
  ]),
  plain('method: preflight of jwks', 'OPTIONS', documents.jwks, [
    ['origin', 'https://app.test'],
    ['access-control-request-method', 'GET'],
  ]),
  plain('method: GET jwks of another origin', 'GET', documents.jwks, [['origin', 'https://app.test']]),
  plain('method: GET jwks that is known', 'GET', documents.jwks, [['if-none-match', '*']]),
  plain('method: GET jwks in part', 'GET', documents.jwks, [['range', 'bytes=0-9']]),
  plain('path: jwks with a query', 'GET', `${documents.jwks}?a=b`),
  plain('path: discovery with a slash behind', 'GET', `${documents.discovery}/`),
  plain('path: RFC 8414 of a tenant', 'GET', `${documents['RFC 8414']}/tenant`),
  plain('path: jwks in upper case', 'GET', '/.well-known/JWKS.json'),
  plain('path: jwks escaped', 'GET', '/.well-known/jwks%2Ejson'),
  plain('path: root', 'GET', '/'),
  plain('path: unknown', 'GET', '/nothing'),
  plain('path: bad escape', 'GET', '/%ZZ'),
  plain('path: .well-known', 'GET', '/.well-known/'),
  plain('path: protected resource metadata', 'GET', '/.well-known/oauth-protected-resource'),
  plain('path: dots', 'GET', '/nothing/../.well-known/jwks.json'),
  { ...token('path: unknown, with all of it', grant), path: '/nothing' },
  { ...token('path: token with a slash behind', grant), path: '/token/' },
  { ...token('path: token with two slashes before', grant), path: '//token' },
  { ...token('path: token in upper case', grant), path: '/TOKEN' },
  { ...token('path: token escaped', grant), path: '/%74oken' },
  { ...token('path: token with a parameter', grant), path: '/token;a=b' },
  { ...token('path: token of another host', grant), path: 'http://evil.test/token' },
  { ...token('path: token below a folder that is not', grant), path: '/x/../token' },
  { ...token('path: revoke', 'token=x'), path: '/revoke' },
  { ...token('path: introspect', 'token=x'), path: '/introspect' },
  { ...token('path: register', '{}'), path: '/register', type: 'application/json' },
  plain('path: userinfo', 'GET', '/me'),
  plain('authorize: code', 'GET', `/authorize?response_type=code&${authorizeQuery}`),
  plain('authorize: token', 'GET', `/authorize?response_type=token&${authorizeQuery}`),
  plain('authorize: none', 'GET', `/authorize?response_type=none&${authorizeQuery}`),
  plain('authorize: no response_type', 'GET', `/authorize?${authorizeQuery}`),
  plain('authorize: response_type twice', 'GET', `/authorize?response_type=code&response_type=code&${authorizeQuery}`),
  plain('authorize: unknown client', 'GET', '/authorize?response_type=code&client_id=nobody'),
  plain('authorize: no client', 'GET', '/authorize?response_type=code'),
]

const headerRows: readonly Row[] = [
  token('header: HTML wanted', grant, { headers: [['accept', 'text/html']] }),
  token('header: HTML wanted of a refusal', 'grant_type=x', { headers: [['accept', 'text/html']] }),
  token('header: something else wanted of a refusal', 'grant_type=x', { headers: [['accept', 'image/png']] }),
  token('header: another host', grant, { headers: [['host', 'evil.test']] }),
  token('header: a host that is none', grant, { headers: [['host', 'evil test/']] }),
  token('header: two hosts', grant, {
    headers: [
      ['host', 'a.test'],
      ['host', 'b.test'],
    ],
  }),
  token('header: forwarded', grant, {
    headers: [
      ['x-forwarded-host', 'evil.test'],
      ['x-forwarded-proto', 'https'],
      ['forwarded', 'for=1.2.3.4;host=evil.test'],
    ],
  }),
  token('header: an origin', grant, { headers: [['origin', 'https://evil.test']] }),
  token('header: a DPoP proof that is none', grant, { headers: [['dpop', 'a.b.c']] }),
  token('header: two DPoP proofs', grant, {
    headers: [
      ['dpop', 'a.b.c'],
      ['dpop', 'a.b.c'],
    ],
  }),
  token('header: a client certificate that nobody vouches for', grant, { headers: [['client-cert', ':YQ==:']] }),
  token('header: cookies', grant, { headers: [['cookie', '_session=x']] }),
  token('header: Expect of something', grant, { headers: [['expect', 'a-miracle']] }),
  token('header: proxy credentials only', grant, {
    anonymous: true,
    headers: [['proxy-authorization', 'Basic b64(billing:{billing})']],
  }),
]

export const rows: readonly Row[] = [
  ...grantRows,
  ...typeRows,
  ...basicRows,
  ...postRows,
  ...formRows,
  ...scopeRows,
  ...resourceRows,
  ...methodRows,
  ...pathRows,
  ...headerRows,
]
