import { workerVariable } from './worker-talk.ts'

// A cluster of somebody else (a process manager) makes no worker of ours, nor does a variable alone.
if (process.env[workerVariable] !== undefined && (await import('node:cluster')).default.isWorker) {
  const { runWorker } = await import('./worker.ts')
  await runWorker()
} else {
  const { runCommandLine } = await import('./cli.ts')
  const args = process.argv.slice(2)
  if (args[0] === 'serve') {
    const { lastLinesMilliseconds, sayLast } = await import('./operator-log.ts')
    process.exitCode = await runCommandLine(args, sayLast)
    // Whoever runs a server shall see that it has ended, also where nobody reads: Node would wait for that.
    setTimeout(() => process.exit(), lastLinesMilliseconds).unref()
  } else {
    process.exitCode = await runCommandLine(args)
  }
}
