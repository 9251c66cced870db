import { createPublicKey } from 'node:crypto'
import type { Command } from './command.ts'
import { viewRing } from './open-ring.ts'

export const keyExport: Command = {
  name: 'key export',
  summary: 'print the published public keys, for verifiers that are given them by hand: as a JWKS, or as PEM',
  options: [{ flags: '--pem', description: 'SubjectPublicKeyInfo in PEM (RFC 7468 section 13), each under its kid' }],
  example: 'mayfly key export --pem',
  async run(context, _, options) {
    const { material } = await viewRing(context)
    context.note(
      'Whoever keeps a copy must fetch it again before the staged keys in it sign: `mayfly key list` says when.',
    )
    if (options.pem !== true) {
      const jwks = { keys: material.signingKeys.map((key) => key.publicJwk) }
      return { json: jwks, text: JSON.stringify(jwks, null, 2) }
    }
    const keys = material.signingKeys.map(({ kid, alg, state, publicJwk }) => {
      const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' })
      return { kid, alg, state, pem: key.export({ format: 'pem', type: 'spki' }).toString() }
    })
    const text = keys.map(({ kid, alg, state, pem }) => `${kid} ${alg} ${state}\n${pem}`).join('\n')
    return { json: keys, text: text.trimEnd() }
  },
}
