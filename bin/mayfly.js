#!/usr/bin/env node
// The launcher. Plain JavaScript that any Node can parse: it looks at the version before it imports anything.
const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  process.stderr.write(
    `mayfly needs Node.js 24 or newer, this is ${process.versions.node}: install Node.js 24, or in a checkout run \`npm ci\` and use \`npx --no mayfly\`.\n`,
  )
  process.exit(2)
}
const { default: module } = await import('node:module')
const { fileURLToPath } = await import('node:url')
// Node does not strip types below node_modules, so an installed package runs its compiled files.
const installed = import.meta.url.includes('/node_modules/')
// Compiled code is kept beside the code that it was compiled from, where whoever can write could change that as well;
// Node's own choice, a shared folder in /tmp, would let any user of the machine in. Where it cannot write it does without.
const cache = new URL(installed ? '../../.cache/mayfly' : '../node_modules/.cache/mayfly', import.meta.url)
module.enableCompileCache(fileURLToPath(cache))
await import(installed ? '../dist/cli/main.js' : '../src/cli/main.ts')
