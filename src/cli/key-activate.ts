import { leadLeftMilliseconds } from '../key/rotate.ts'
import { formatSpan } from '../lib/duration.ts'
import { type Command, CommandFailure } from './command.ts'
import { rotateNow } from './key-rotate.ts'
import { algOption, findPair, openRing, parseAlgs } from './open-ring.ts'
import { printList } from './print.ts'

export const keyActivate: Command = {
  name: 'key activate',
  summary: 'let the staged key sign now; refused while a verifier may not have it yet',
  options: [
    algOption,
    {
      flags: '--allow-unverifiable-tokens',
      description: 'also before the lead is over: verifiers that have an older JWKS refuse the new tokens meanwhile',
    },
  ],
  example: 'mayfly key activate --alg RS256',
  changes: true,
  async run(context, _, options) {
    const algs = parseAlgs(options)
    const opened = await openRing(context)
    const { moment, timing } = opened
    for (const alg of algs) {
      const { staged } = findPair(opened.ring.keys, alg)
      const left = Math.ceil(leadLeftMilliseconds(staged, moment, timing) / 1000)
      if (left <= 0) continue
      if (options.allowUnverifiableTokens !== true) {
        throw new CommandFailure(
          `the staged ${alg} key ${staged.kid} must be published for ${formatSpan(left)} more before every verifier has it, and nothing was changed: \`mayfly key rotate\` lets it sign then`,
        )
      }
      context.note(
        `Warning: the ${alg} key ${staged.kid} was not published long enough: verifiers that keep an older JWKS, and do not look again for an unknown kid, refuse its tokens for up to ${formatSpan(left)}.`,
      )
    }
    return printList(await rotateNow(opened, algs, context), ['alg', 'at', 'signs', 'retires'], '')
  },
}
