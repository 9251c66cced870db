// The health check of the container: ends with 0 when the server in it is ready. It asks by loopback, so it does not look
// at the certificate of native TLS, which is for another name; what it sends is no secret.
import { get as getPlain } from 'node:http'
import { get as getTls } from 'node:https'

const { MAYFLY_PORT, MAYFLY_TLS_CERT_FILE } = process.env
const get = MAYFLY_TLS_CERT_FILE ? getTls : getPlain
const port = MAYFLY_PORT || 8080
get({ host: '127.0.0.1', port, path: '/readyz', rejectUnauthorized: false, timeout: 4_000 }, ({ statusCode }) =>
  process.exit(statusCode === 200 ? 0 : 1),
)
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1))
