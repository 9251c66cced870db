/** The 64 bytes of a JWS signature with P-256 as DER: a SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3). */
export function toDerSignature(raw: Uint8Array): Uint8Array {
  const integers = [toDerInteger(raw.subarray(0, 32)), toDerInteger(raw.subarray(32))]
  const body = Buffer.concat(integers)
  return Buffer.concat([Uint8Array.of(0x30, body.length), body])
}

// As short as it can be, and with a leading zero where it would look negative.
function toDerInteger(bytes: Uint8Array): Uint8Array {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1
  const digits = bytes.subarray(start)
  const sign = (digits[0] ?? 0) >= 0x80 ? [0] : []
  return Buffer.concat([Uint8Array.of(0x02, sign.length + digits.length, ...sign), digits])
}
