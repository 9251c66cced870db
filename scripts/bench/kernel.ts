/** What the kernel has booked on a process: processor time, waiting for a processor, memory. Linux only. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK']))

/**
 * Processor time of all threads of a process that live, so far, microseconds (/proc/PID/task/TID/schedstat). To the nanosecond:
 * the ticks of /proc/PID/stat are 10 ms, which a short measurement on a busy machine does not fill once.
 */
export function cpuMicroseconds(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => sum + timesOf(`${pid}/task/${task}`).ran, 0)
}

/** That of a process, of its children, and of those of them that have ended, in ticks (proc(5), /proc/PID/stat fields 14 to 17). */
export function familyMicroseconds(pid: number): number {
  const children = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name) && readParent(name) === String(pid))
  const theirs = children.map((child) => ticksOf(readStat(child).slice(11, 13)))
  return theirs.reduce((sum, each) => sum + each, ticksOf(readStat(pid).slice(11, 15)))
}

// The name in the second field may hold anything; what follows its last bracket does not.
function readStat(pid: number | string): readonly string[] {
  return readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ')
}

// Whoever has just ended is nobody's child.
function readParent(pid: string): string | undefined {
  try {
    return readStat(pid)[1]
  } catch {
    return undefined
  }
}

function ticksOf(fields: readonly string[]): number {
  return (fields.reduce((sum, field) => sum + Number(field), 0) / ticksPerSecond) * 1e6
}

/**
 * How long the main thread ran or was ready to run so far, microseconds (/proc/PID/schedstat). Over an interval: near to
 * the whole of it when this thread is what everything waits for, whoever else uses its core.
 */
export function demandMicroseconds(pid: number): number {
  const { ran, waited } = timesOf(String(pid))
  return ran + waited
}

// Microseconds (proc(5)).
function timesOf(task: string): { readonly ran: number; readonly waited: number } {
  const [ran = 0, waited = 0] = readFileSync(`/proc/${task}/schedstat`, 'latin1').split(' ').map(Number)
  return { ran: ran / 1000, waited: waited / 1000 }
}

/** Resident memory now and at its highest, MB of 10^6 bytes. */
export function memoryMb(pid: number): { readonly now: number; readonly highest: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const read = (name: string): number =>
    (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024) / 1e6
  return { now: read('VmRSS'), highest: read('VmHWM') }
}

/** The cores that servers and load are kept on; absent when the machine has one, or no taskset. */
export interface Pinning {
  readonly server: string
  readonly load: string
}

export function findPinning(): Pinning | undefined {
  if (availableParallelism() < 2) return undefined
  try {
    const list = execFileSync('taskset', ['-pc', String(process.pid)], { stdio: ['ignore', 'pipe', 'ignore'] })
    const cores = expandCores(list.toString().split(': ')[1] ?? '')
    const [server, load] = [cores[0], cores.at(-1)]
    return server === undefined || load === undefined || server === load ? undefined : { server, load }
  } catch {
    return undefined
  }
}

// `0,2-4` as it is written by taskset.
function expandCores(list: string): string[] {
  return list
    .trim()
    .split(',')
    .flatMap((part) => {
      const [from = Number.NaN, to = from] = part.split('-').map(Number)
      return Array.from({ length: to - from + 1 }, (_, i) => String(from + i))
    })
}

/** What the figures were measured on. */
export function describeMachine(): object {
  const { node, openssl } = process.versions
  return { cores: availableParallelism(), cpu: cpus()[0]?.model.trim(), node, openssl, platform: process.platform }
}
