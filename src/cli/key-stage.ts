import { type Command, CommandFailure } from './command.ts'
import { algOption, changeRing, openRing, parseAlgs } from './open-ring.ts'
import { printList } from './print.ts'

export const keyStage: Command = {
  name: 'key stage',
  summary: 'make a staged signing key where none stands behind the active one',
  options: [algOption],
  example: 'mayfly key stage --alg ES256',
  changes: true,
  async run(context, _, options) {
    const algs = parseAlgs(options)
    const opened = await openRing(context)
    const staged = opened.ring.keys.filter((key) => key.state === 'staged').map((key) => key.alg)
    const missing = algs.filter((alg) => !staged.includes(alg))
    if (missing.length === 0) {
      throw new CommandFailure(
        `a staged key stands behind each active one (${algs.join(', ')}): to replace it, \`mayfly key revoke\` it`,
      )
    }
    const { makeSigningKey } = await import('../key/make-key.ts')
    const { root, storeId } = opened.ring.root
    const adds = await Promise.all(
      missing.map(async (alg) => ({ ...(await makeSigningKey(root, storeId, alg)), state: 'staged' as const })),
    )
    await changeRing(opened, { moves: [], adds, reason: 'command' }, context)
    return printList(
      adds.map(({ kid, alg, state }) => ({ kid, alg, state })),
      ['state', 'alg', 'kid'],
      '',
    )
  },
}
