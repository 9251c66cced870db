import fc from 'fast-check'

/**
 * Any text that a JavaScript string can hold, halves of surrogate pairs too. The `binary` unit of fast-check, which comes
 * near it, takes 2.7 s to be made.
 */
export function anyText(): fc.Arbitrary<string> {
  return fc.array(fc.nat(0xffff)).map((units) => String.fromCharCode(...units))
}
