/** The parameters of a form request: each name at most once, an empty value counts as absent (RFC 6749 section 3.2). */
export interface Parameters {
  /** The value, `undefined` when absent or empty. */
  get(name: string): string | undefined
  /** All values of one of the two parameters that may repeat, `resource` and `audience` (RFC 8707, RFC 8693). */
  getAll(name: 'resource' | 'audience'): readonly string[]
}
