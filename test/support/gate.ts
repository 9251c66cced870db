import type { SignerHook } from '../../src/key/ring.ts'

/** A place where something is held until it is let go. */
export interface Gate {
  /** Resolves when somebody has arrived. */
  readonly arrived: Promise<void>
  open(): void
  pass(): Promise<void>
}

export function createGate(): Gate {
  const arrived = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  return {
    arrived: arrived.promise,
    open: opened.resolve,
    pass: () => {
      arrived.resolve()
      return opened.promise
    },
  }
}

/** Signers that wait at a gate before they sign; nobody waits while there is none. */
export function gatedSigners(): { hook: SignerHook; hold(gate: Gate | undefined): void; signed(): number } {
  let gate: Gate | undefined
  let signed = 0
  return {
    hold: (next) => {
      gate = next
    },
    signed: () => signed,
    hook: (signer) => ({
      ...signer,
      sign: async (input) => {
        await gate?.pass()
        signed += 1
        return signer.sign(input)
      },
    }),
  }
}
