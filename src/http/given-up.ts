import type { Socket } from 'node:net'

// Connections that get no further request answered.
const givenUp = new WeakSet<Socket>()

/**
 * Answers nothing more on a connection than what it has asked for so far: a reply that says `Connection: close` is its last, and
 * what a request behind it asks for would be done although nobody could hear of it.
 *
 * @see RFC 9112 section 9.6
 */
export function giveUp(socket: Socket): void {
  givenUp.add(socket)
}

export function isGivenUp(socket: Socket): boolean {
  return givenUp.has(socket)
}
