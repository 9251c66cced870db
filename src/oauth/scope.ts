import { OAuthError } from './errors.ts'

const token = /^[\x21\x23-\x5B\x5D-\x7E]+$/

/** Whether a text is one scope-token (RFC 6749 section 3.3), at most 128 characters. */
export function isScopeToken(text: string): boolean {
  return text.length <= 128 && token.test(text)
}

/**
 * A `scope` parameter as the set that it stands for: scope-tokens with one space between them; order and repetition
 * mean nothing.
 *
 * @throws OAuthError `scope_malformed`
 * @see RFC 6749 section 3.3
 */
export function parseScope(parameter: string): ReadonlySet<string> {
  const tokens = parameter.split(' ')
  if (tokens.length > 256 || !tokens.every(isScopeToken)) throw new OAuthError('scope_malformed')
  return new Set(tokens)
}

/** A set of scope-tokens as the `scope` claim and parameter write it; `undefined` for none, for an empty `scope` is not a scope. */
export function formatScope(scope: Iterable<string>): string | undefined {
  const text = [...scope].join(' ')
  return text === '' ? undefined : text
}
