/** A program that rotates the ring of a database as fast as it can, and prints a line after each rotation. */
import { openStore } from '../../src/store/open-store.ts'
import { makeToyKey } from './ring-world.ts'

const store = openStore(process.argv[2] ?? '', { create: false, examine: false })
const timing = { jwksMaxAgeSeconds: 300, accessTokenMaxTtlSeconds: 3600 }

for (;;) {
  const keys = await store.listKeys()
  const find = (state: string): string => keys.find((key) => key.state === state)?.kid ?? ''
  const at = { now: keys.length, running: keys.length, wall: keys.length, resets: 0 }
  const { kid: _, ...key } = makeToyKey()
  const kid = `toy-${process.pid}-${keys.length}`
  const moves = [
    { kid: find('active'), from: 'active', to: 'retiring' },
    { kid: find('staged'), from: 'staged', to: 'active' },
  ] as const
  const adds = [{ ...key, kid, publicJwk: { ...key.publicJwk, kid }, state: 'staged' as const }]
  if (await store.changeRing({ moves, adds, at, timing, reason: 'schedule' }, 'server'))
    process.stdout.write('rotated\n')
  for (const { kid: old } of keys.filter(({ state }) => state === 'retiring')) {
    const retirement = [{ kid: old, from: 'retiring' as const, to: 'retired' as const }]
    await store.changeRing({ moves: retirement, adds: [], at, timing, reason: 'schedule' }, 'server')
  }
}
