#!/usr/bin/env node
// The launcher. Plain JavaScript that any Node can parse: it looks at the version before it imports anything.
const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  process.stderr.write(
    `mayfly needs Node.js 24 or newer, this is ${process.versions.node}: install Node.js 24, or in a checkout run \`npm ci\` and use \`npx --no mayfly\`.\n`,
  )
  process.exit(2)
}
// Node does not strip types below node_modules, so an installed package runs its compiled files.
const installed = new URL(import.meta.url).pathname.includes('/node_modules/')
await import(installed ? '../dist/cli/main.js' : '../src/cli/main.ts')
