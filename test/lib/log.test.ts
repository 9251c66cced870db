import { describe, expect, it } from 'vitest'
import { describeError } from '../../src/lib/log.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { OAuthError } from '../../src/oauth/errors.ts'

function throwDeeply(depth: number): never {
  if (depth > 0) return throwDeeply(depth - 1)
  throw new TypeError('too deep')
}

function catchFrom(run: () => void): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}

describe('an error in the log', () => {
  it('has its name, its message, and where it was thrown', () => {
    const described = describeError(catchFrom(() => throwDeeply(3)))
    expect(described).toEqual({ type: 'TypeError', message: 'too deep', at: expect.stringMatching(/log\.test\.ts:/) })
  })

  it('has no stack trace', () => {
    const text = JSON.stringify(describeError(catchFrom(() => throwDeeply(3))))
    expect(text).not.toContain('stack')
    expect(text.match(/log\.test\.ts/g)).toHaveLength(1)
    expect(text).not.toContain('\\n')
  })

  it('has the code of an error that has one', () => {
    const error = Object.assign(new Error('no room'), { code: 'ENOSPC' })
    expect(describeError(error)).toMatchObject({ code: 'ENOSPC' })
  })

  it('has the same of its causes, all the way down', () => {
    const bottom = Object.assign(new Error('disk'), { code: 'SQLITE_IOERR' })
    const error = new StoreUnavailable('storage', { cause: new Error('commit', { cause: bottom }) })
    expect(describeError(error)).toMatchObject({
      type: 'StoreUnavailable',
      message: 'storage',
      cause: { type: 'Error', message: 'commit', cause: { message: 'disk', code: 'SQLITE_IOERR' } },
    })
  })

  it('shows no other member of an error or its causes', () => {
    const cause = Object.assign(new Error('refused'), { token: 'hunter2', request: { secret: 'hunter2' } })
    const error = Object.assign(new OAuthError('fault', { cause }), { presented: 'hunter2' })
    expect(JSON.stringify(describeError(error))).not.toContain('hunter2')
  })

  it.each([['hunter2'], [42], [undefined], [null], [{ message: 'hunter2', secret: 'hunter2' }]])(
    'shows of a thrown %j its type alone',
    (thrown) => {
      expect(describeError(thrown)).toEqual({ type: typeof thrown })
    },
  )

  it('comes to an end when an error is its own cause', () => {
    const error = new Error('a snake')
    error.cause = error
    expect(describeError(error)).toMatchObject({ type: 'Error', message: 'a snake' })
  })
})
