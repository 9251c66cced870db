import type { Command } from './command.ts'
import { describeKey } from './describe-key.ts'
import { viewRing } from './open-ring.ts'
import { printList } from './print.ts'

const columns = [
  'state',
  'alg',
  'kid',
  'published_at',
  'activates_at',
  'retires_at',
  'leaves_jwks_at',
  'tokens_live_until',
]

export const keyList: Command = {
  name: 'key list',
  summary:
    'show every signing key: when each step of its life happened or will happen, and until when a token of it can live',
  example: 'mayfly key list',
  async run(context) {
    const { store, moment, timing } = await viewRing(context)
    const { findOverdue, timelineOf } = await import('../key/timeline.ts')
    const keys = await store.listKeys()
    for (const sentence of findOverdue(keys, moment, timing)) context.note(`Warning: ${sentence}`)
    return printList(timelineOf(keys, moment, timing).map(describeKey), columns, 'No keys.')
  },
}
