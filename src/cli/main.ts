import cluster from 'node:cluster'
import { workerVariable } from './worker-talk.ts'

// A cluster of somebody else (a process manager) makes no worker of ours.
if (cluster.isWorker && process.env[workerVariable] !== undefined) {
  const { runWorker } = await import('./worker.ts')
  await runWorker()
} else {
  const { runCommandLine } = await import('./cli.ts')
  process.exitCode = await runCommandLine(process.argv.slice(2))
}
