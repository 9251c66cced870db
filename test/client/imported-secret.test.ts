import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type ArgonCost,
  checkLimitsFor,
  defaultCost,
  formatCost,
  hashImportedSecret,
  ImportedSecretChecker,
  isAcceptableCost,
  isSameCost,
  parseArgonHash,
} from '../../src/client/imported-secret.ts'

const salt = 'c29tZXNhbHRzb21lc2FsdA'
const hash = 'A'.repeat(43)

/** A hash with what a case changes. */
function phc({ head = '$argon2id$v=19$', cost = 'm=19456,t=2,p=1', tail = `$${salt}$${hash}` } = {}): string {
  return `${head}${cost}${tail}`
}

// Far cheaper than what may be registered, so that many checks take no time; and one that takes long beside it.
const cheap: ArgonCost = { memoryKib: 8, passes: 1, lanes: 1 }
const dear: ArgonCost = { memoryKib: 65_536, passes: 4, lanes: 1 }
const roomy = { running: 4, waiting: 100 }

describe('an argon2id hash in PHC form', () => {
  it.each([
    [phc(), { memoryKib: 19_456, passes: 2, lanes: 1 }],
    [phc({ cost: 'm=65536,t=3,p=4' }), { memoryKib: 65_536, passes: 3, lanes: 4 }],
    [phc({ cost: 'm=8,t=1,p=1' }), cheap],
    [phc({ cost: 'm=8,t=1,p=1', tail: `$${'A'.repeat(11)}$${'A'.repeat(22)}` }), cheap],
    [phc({ cost: 'm=8,t=1,p=1', tail: `$${'A'.repeat(86)}$${'A'.repeat(86)}` }), cheap],
    [
      '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
      { memoryKib: 256, passes: 2, lanes: 1 },
    ],
  ])('tells its cost: %s', (text, cost) => {
    expect(parseArgonHash(text)).toEqual(cost)
  })

  it.each([
    ['nothing', ''],
    ['a word', 'hunter2'],
    ['argon2i', phc({ head: '$argon2i$v=19$' })],
    ['argon2d', phc({ head: '$argon2d$v=19$' })],
    ['bcrypt', '$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW'],
    ['the algorithm in upper case', phc({ head: '$ARGON2ID$v=19$' })],
    ['version 16', phc({ head: '$argon2id$v=16$' })],
    ['no version', phc({ head: '$argon2id$' })],
    ['parameters in another order', phc({ cost: 't=2,m=19456,p=1' })],
    ['a parameter less', phc({ cost: 'm=19456,t=2' })],
    ['a parameter more', phc({ cost: 'm=19456,t=2,p=1,keyid=x' })],
    ['a space between parameters', phc({ cost: 'm=19456, t=2,p=1' })],
    ['no memory', phc({ cost: 'm=0,t=2,p=1' })],
    ['no passes', phc({ cost: 'm=19456,t=0,p=1' })],
    ['no lanes', phc({ cost: 'm=19456,t=2,p=0' })],
    ['a number with a sign', phc({ cost: 'm=+19456,t=2,p=1' })],
    ['a number with a leading zero', phc({ cost: 'm=019456,t=2,p=1' })],
    ['a number in hexadecimal', phc({ cost: 'm=0x4c00,t=2,p=1' })],
    ['a number beyond all sense', phc({ cost: 'm=99999999,t=2,p=1' })],
    ['no salt', phc({ tail: `$$${hash}` })],
    ['no hash', phc({ tail: `$${salt}` })],
    ['an empty hash', phc({ tail: `$${salt}$` })],
    ['padding', phc({ tail: `$${salt}==$${hash}=` })],
    ['base64url', phc({ tail: `$${salt.slice(1)}-$${hash}` })],
    ['a salt below 8 bytes', phc({ tail: `$c2FsdA$${hash}` })],
    ['a salt of 65 bytes', phc({ tail: `$${'A'.repeat(87)}$${hash}` })],
    ['a hash of 15 bytes', phc({ tail: `$${salt}$${'A'.repeat(20)}` })],
    ['a hash of 65 bytes', phc({ tail: `$${salt}$${'A'.repeat(87)}` })],
    ['a hash of 10 bytes', phc({ tail: `$${salt}$${'A'.repeat(14)}` })],
    ['a line break behind', `${phc()}\n`],
    ['a space before', ` ${phc()}`],
    ['something behind', `${phc()}$x`],
    ['a NUL', phc({ tail: `$${salt}$${hash}\0` })],
  ])('is not %s', (_, text) => {
    expect(parseArgonHash(text)).toBeUndefined()
  })

  // What can be registered must be possible to check, or its client is answered 500 where others are refused.
  it.each([
    ['a salt of 13 characters, which no bytes encode to', `$${'A'.repeat(13)}$${hash}`],
    ['a hash of 25 characters, which no bytes encode to', `$${salt}$${'A'.repeat(25)}`],
    ['a salt whose last bits are not zero', `$${'A'.repeat(21)}B$${hash}`],
    ['a hash whose last bits are not zero', `$${salt}$${'A'.repeat(42)}B`],
  ])('is not one with %s', async (_, tail) => {
    const text = phc({ cost: 'm=8,t=1,p=1', tail })
    expect(parseArgonHash(text)).toBeUndefined()
  })

  it.each([11, 22, 43, 64, 86])('can be checked with a salt of %i characters', async (length) => {
    const text = phc({ cost: 'm=8,t=1,p=1', tail: `$${'A'.repeat(length)}$${hash}` })
    expect(parseArgonHash(text)).toEqual(cheap)
    await expect(new ImportedSecretChecker(roomy).matches('x', text, cheap)).resolves.toBe(false)
  })

  it('tells any cost that it is written with', () => {
    const cost = fc.record({
      memoryKib: fc.integer({ min: 1, max: 9_999_999 }),
      passes: fc.integer({ min: 1, max: 999 }),
      lanes: fc.integer({ min: 1, max: 99 }),
    })
    fc.assert(
      fc.property(cost, (each) => {
        expect(parseArgonHash(phc({ cost: formatCost(each) }))).toEqual(each)
      }),
      { seed: 20_260_102, numRuns: 200 },
    )
  })
})

describe('the cost of an imported secret', () => {
  it.each([
    ['what is hashed here', defaultCost],
    ["OWASP's first choice", { memoryKib: 47_104, passes: 1, lanes: 1 }],
    ["OWASP's last choice", { memoryKib: 7_168, passes: 5, lanes: 1 }],
    ['the most memory', { memoryKib: 65_536, passes: 4, lanes: 4 }],
    ['the least work', { memoryKib: 8_750, passes: 4, lanes: 1 }],
    ['the most work', { memoryKib: 8_192, passes: 32, lanes: 1 }],
  ])('may be %s', (_, cost) => {
    expect(isAcceptableCost(cost)).toBe(true)
  })

  it.each([
    ['less memory than 7 MiB', { memoryKib: 7_167, passes: 30, lanes: 1 }],
    ['more memory than 64 MiB', { memoryKib: 65_537, passes: 1, lanes: 1 }],
    ['too little work', { memoryKib: 34_999, passes: 1, lanes: 1 }],
    ['too much work', { memoryKib: 65_536, passes: 5, lanes: 1 }],
    ['too many passes of little memory', { memoryKib: 7_168, passes: 37, lanes: 1 }],
    ['five lanes', { memoryKib: 19_456, passes: 2, lanes: 5 }],
    ['next to nothing', cheap],
    ['nothing', { memoryKib: 0, passes: 0, lanes: 0 }],
  ])('C09 may not be %s', (_, cost) => {
    expect(isAcceptableCost(cost)).toBe(false)
  })

  it('is the same only when all of it is', () => {
    expect(isSameCost(cheap, { ...cheap })).toBe(true)
    expect(isSameCost(cheap, { ...cheap, memoryKib: 9 })).toBe(false)
    expect(isSameCost(cheap, { ...cheap, passes: 2 })).toBe(false)
    expect(isSameCost(cheap, { ...cheap, lanes: 2 })).toBe(false)
  })
})

describe('an imported secret', () => {
  it('is kept as argon2id of the cost that was asked for, with a salt of its own', async () => {
    const [one, other] = await Promise.all([hashImportedSecret('hunter2', cheap), hashImportedSecret('hunter2', cheap)])
    expect(parseArgonHash(one)).toEqual(cheap)
    expect(one).not.toBe(other)
    expect(one).not.toContain('hunter2')
  })

  it('is accepted by what was made of it', async () => {
    const checker = new ImportedSecretChecker(roomy)
    const stored = await hashImportedSecret('pässword %+:🔑', cheap)
    await expect(checker.matches('pässword %+:🔑', stored, cheap)).resolves.toBe(true)
    expect(checker.load).toBe(0)
  })

  it.each(['hunter3', 'hunter', 'hunter22', 'Hunter2', ' hunter2', ''])('refuses %j', async (presented) => {
    const stored = await hashImportedSecret('hunter2', cheap)
    await expect(new ImportedSecretChecker(roomy).matches(presented, stored, cheap)).resolves.toBe(false)
  })

  it('accepts what other programs hash, the vector of the reference implementation', async () => {
    const stored = '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4'
    const checker = new ImportedSecretChecker(roomy)
    await expect(checker.matches('password', stored, cheap)).resolves.toBe(true)
    await expect(checker.matches('Password', stored, cheap)).resolves.toBe(false)
  })

  it('C08 refuses every string where there is no hash, whatever it is', async () => {
    const checker = new ImportedSecretChecker(roomy)
    for (const presented of ['', 'hunter2', 'x'.repeat(10_000)]) {
      await expect(checker.matches(presented, undefined, cheap)).resolves.toBe(false)
    }
    await expect(checker.matches('hunter2', undefined, { ...cheap, passes: 2 })).resolves.toBe(false)
  })
})

describe('the checker of imported secrets', () => {
  it('leaves a core to others, and lets a few wait', () => {
    expect(checkLimitsFor(1)).toEqual({ running: 1, waiting: 8 })
    expect(checkLimitsFor(2)).toEqual({ running: 1, waiting: 8 })
    expect(checkLimitsFor(8)).toEqual({ running: 7, waiting: 56 })
    expect(checkLimitsFor(8, 2)).toEqual({ running: 3, waiting: 24 })
    expect(checkLimitsFor(2, 4)).toEqual({ running: 1, waiting: 8 })
  })

  it('runs one at a time where one may run, in the order in which they came', async () => {
    const checker = new ImportedSecretChecker({ running: 1, waiting: 10 })
    const [long, short] = await Promise.all([hashImportedSecret('x', dear), hashImportedSecret('x', cheap)])
    const ended: number[] = []
    await Promise.all(
      [long, short, short, short].map(async (stored, i) => {
        await checker.matches('x', stored, cheap)
        ended.push(i)
      }),
    )
    expect(ended).toEqual([0, 1, 2, 3])
  })

  it('lets a short one overtake a long one where two may run, and no third beside them', async () => {
    const checker = new ImportedSecretChecker({ running: 2, waiting: 10 })
    const [long, short] = await Promise.all([hashImportedSecret('x', dear), hashImportedSecret('x', cheap)])
    const ended: number[] = []
    await Promise.all(
      [long, long, short].map(async (stored, i) => {
        await checker.matches('x', stored, cheap)
        ended.push(i)
      }),
    )
    expect(ended.at(0)).not.toBe(2)
    const after: number[] = []
    await Promise.all(
      [long, short, short].map(async (stored, i) => {
        await checker.matches('x', stored, cheap)
        after.push(i)
      }),
    )
    expect(after).toEqual([1, 2, 0])
  })

  it('C08 does the work of the cost that is asked for where there is no hash, whatever it did before', async () => {
    const checker = new ImportedSecretChecker({ running: 2, waiting: 10 })
    const short = await hashImportedSecret('x', cheap)
    await checker.matches('x', undefined, cheap)
    const ended: string[] = []
    const note = (name: string) => () => ended.push(name)
    await Promise.all([
      checker.matches('x', undefined, dear).then(note('without a hash')),
      checker.matches('x', short, cheap).then(note('one')),
      checker.matches('x', short, cheap).then(note('another')),
    ])
    expect(ended).toEqual(['one', 'another', 'without a hash'])
  })

  it('C09 refuses at once what does not fit into the queue, and goes on when there is room again', async () => {
    const checker = new ImportedSecretChecker({ running: 1, waiting: 2 })
    const stored = await hashImportedSecret('x', cheap)
    const accepted = Array.from({ length: 3 }, () => checker.matches('x', stored, cheap))
    expect(checker.load).toBe(3)
    const refused = await Promise.allSettled(Array.from({ length: 5 }, () => checker.matches('x', stored, cheap)))
    // None of the accepted has had the time to end: the refusals did not wait for them.
    expect(checker.load).toBe(3)
    for (const each of refused) {
      expect(each).toMatchObject({ status: 'rejected', reason: { name: 'OAuthError', reason: 'secret_check_busy' } })
    }
    await expect(Promise.all(accepted)).resolves.toEqual([true, true, true])
    expect(checker.load).toBe(0)
    await expect(checker.matches('x', stored, cheap)).resolves.toBe(true)
  })

  it('C09 lets those go first that were right before, and keeps room for them', async () => {
    const checker = new ImportedSecretChecker({ running: 1, waiting: 2 })
    const stored = await hashImportedSecret('x', cheap)
    const ended: string[] = []
    const check = (name: string, goesFirst: boolean) =>
      checker.matches('x', stored, { ...cheap, goesFirst }).then(() => ended.push(name))
    const strangers = [check('running', false), check('stranger 1', false), check('stranger 2', false)]
    await expect(check('stranger 3', false)).rejects.toMatchObject({ reason: 'secret_check_busy' })
    const known = [check('known 1', true), check('known 2', true)]
    await expect(check('known 3', true)).rejects.toMatchObject({ reason: 'secret_check_busy' })
    expect(checker.load).toBe(5)
    await Promise.all([...strangers, ...known])
    expect(ended).toEqual(['running', 'known 1', 'known 2', 'stranger 1', 'stranger 2'])
  })

  it('C08 refuses for want of room whether there is a hash or not', async () => {
    const checker = new ImportedSecretChecker({ running: 1, waiting: 0 })
    const stored = await hashImportedSecret('x', cheap)
    const running = checker.matches('x', stored, cheap)
    await expect(checker.matches('x', stored, cheap)).rejects.toMatchObject({ reason: 'secret_check_busy' })
    await expect(checker.matches('x', undefined, cheap)).rejects.toMatchObject({ reason: 'secret_check_busy' })
    await expect(running).resolves.toBe(true)
  })

  it('C08 matches nothing against a hash that cannot be computed, and gives its place back', async () => {
    const checker = new ImportedSecretChecker({ running: 1, waiting: 0 })
    for (const broken of ['not a hash', phc({ cost: 'm=8,t=1,p=4' })]) {
      await expect(checker.matches('x', broken, cheap)).resolves.toBe(false)
      expect(checker.load).toBe(0)
    }
  })
})
