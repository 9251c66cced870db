import type { Command } from './command.ts'

export const serve: Command = {
  name: 'serve',
  summary: 'run the server',
  options: [
    { flags: '--dev', description: 'a throw-away database and keys, one resource and one client, for development' },
  ],
  example: 'mayfly serve',
  async run(context, _, options) {
    const { runServer } = await import('./run-server.ts')
    await runServer(context, options.dev === true)
    return undefined
  },
}
