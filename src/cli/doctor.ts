import { availableParallelism } from 'node:os'
import { type Command, CommandFailure } from './command.ts'
import type { Finding } from './doctor-checks.ts'
import { viewRing } from './open-ring.ts'
import { printList, timestamp } from './print.ts'

export const doctor: Command = {
  name: 'doctor',
  summary:
    'look at files, database, keys, clock, issuer, secrets, clients and size, and say what to do; ends with 1 when something is wrong',
  options: [
    {
      flags: '--reset-calendar',
      description:
        "set the database's calendar back to this machine's clock, after a wrong one drove it into the future",
    },
  ],
  example: 'mayfly doctor',
  destroys: true,
  changes: (options) => options.resetCalendar === true,
  async run(context, _, options) {
    const view = await viewRing(context)
    if (options.resetCalendar === true) return resetCalendar(view.moment.wall, view.moment.now)
    const checks = await import('./doctor-checks.ts')
    const { checkClients } = await import('./doctor-clients.ts')
    const { checkWorkers } = await import('./doctor-workers.ts')
    const findings: readonly Finding[] = [
      ...(await checks.checkFiles(context, view)),
      ...(await checks.checkDatabase(view)),
      ...(await checks.checkWitness(context, view)),
      ...(await checks.checkMaster(context, view.material)),
      ...(await checks.checkKeys(view)),
      ...checks.checkClock(view),
      ...(await checks.checkIssuer(context, view)),
      ...(await checks.checkSecrets(context, view)),
      ...(await checkClients(context, view)),
      ...(await checks.checkSize(context, view)),
      ...checkWorkers(context.settings, availableParallelism()),
    ]
    const printed = printList(
      findings.map(({ status, check, detail }) => ({ status, check, detail })),
      ['status', 'check', 'detail'],
      '',
    )
    return { ...printed, failed: findings.some((finding) => finding.status === 'fault') }

    async function resetCalendar(wall: number, now: number) {
      if (now <= wall) throw new CommandFailure('the calendar is not ahead of this clock: nothing was changed')
      await context.confirm(
        `Set the calendar of the keys from ${timestamp(now)} back to ${timestamp(wall)}, if that is the right time?`,
      )
      const after = view.store.clock.nowMilliseconds()
      await view.store.resetCalendar(after, context.actor)
      return printList([{ before: timestamp(now), after: timestamp(after) }], ['before', 'after'], '')
    }
  },
}
