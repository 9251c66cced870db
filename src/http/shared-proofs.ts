import type { ProofMemory, SeenProofs } from '../dpop/seen-proofs.ts'
import type { SharedLine } from './shared-line.ts'

/** Proofs that any worker has seen, as one of them asks for them. `own`: those that came here. */
export function createSharedProofs(line: SharedLine, own: SeenProofs): ProofMemory {
  return {
    isFirst: async (use, now) => {
      if (!own.isFirst(use, now)) return false
      const key = Buffer.from(use.key).toString('base64url')
      const told = { key, expiresAt: use.expiresAt, now }
      return line.ask('proofs.isFirst', told, () => {
        // A supervisor that is only late takes note of it: so the others know the proof once it answers again.
        line.tell('proofs.isFirst', told)
        return true
      })
    },
  }
}
