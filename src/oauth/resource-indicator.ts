const uri = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21\x24\x26-\x3B\x3D\x3F-\x5B\x5D\x5F\x61-\x7A\x7E%]+$/

/**
 * Whether a text is a resource indicator: an absolute URI without a fragment, at most 512 characters.
 *
 * @see RFC 8707 section 2, RFC 3986 section 4.3
 */
export function isResourceIndicator(text: string): boolean {
  if (text.length > 512 || !uri.test(text)) return false
  // Of the web, it names a host and no user: what comes before an @ is easily taken for the host.
  if (/^https?:/i.test(text) && !/^https?:\/\/[^/?@]+(?:[/?]|$)/i.test(text)) return false
  // The path of a hierarchical URI must parse; `urn:` and the like have no more structure than the pattern asks for.
  return URL.canParse(text) && !/%(?![0-9A-Fa-f]{2})/.test(text)
}
