/** What a scenario is given and what it hands back. */
import type { Pinning } from './kernel.ts'
import type { LoadGenerator } from './load.ts'
import type { Stage } from './stage.ts'

export interface BenchOptions {
  /** Length of one measurement. */
  readonly seconds: number
  readonly rounds: number
  /** Length of the memory scenario. */
  readonly minutes: number
  readonly seed: number
}

/** What all scenarios share. */
export interface Bench {
  readonly options: BenchOptions
  readonly stage: Stage
  readonly pinning: Pinning | undefined
  readonly random: () => number
  /** Starts a load generator on its own core. */
  startGenerator(): LoadGenerator
  /** Tells whoever waits what is being done. */
  say(text: string): void
}

export type Cell = string | number | undefined

/** A goal of the project beside what was measured. */
export interface Goal {
  readonly goal: string
  readonly value: number
  readonly met: boolean
}

export interface ScenarioResult {
  readonly rows: readonly Readonly<Record<string, Cell>>[]
  readonly goals: readonly Goal[]
  /** What a reader must know to read the figures right. */
  readonly notes: readonly string[]
}

export interface Scenario {
  readonly name: string
  readonly title: string
  /** Whether a run without `--only` has it. */
  readonly byDefault: boolean
  run(bench: Bench): Promise<ScenarioResult>
}

export function atLeast(goal: string, value: number, target: number): Goal {
  return { goal, value, met: value >= target }
}

export function atMost(goal: string, value: number, target: number): Goal {
  return { goal, value, met: value <= target }
}
