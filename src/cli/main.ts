import { workerVariable } from './worker-talk.ts'

// A cluster of somebody else (a process manager) makes no worker of ours, nor does a variable alone.
if (process.env[workerVariable] !== undefined && (await import('node:cluster')).default.isWorker) {
  const { runWorker } = await import('./worker.ts')
  await runWorker()
} else {
  const { runCommandLine } = await import('./cli.ts')
  process.exitCode = await runCommandLine(process.argv.slice(2))
}
