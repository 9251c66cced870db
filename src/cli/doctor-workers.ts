import type { Settings } from '../config/settings.ts'
import type { Finding } from './doctor-checks.ts'

/** Whether this machine has something to do for so many workers. */
export function checkWorkers(
  { workers, postgresUrl }: Pick<Settings, 'workers' | 'postgresUrl'>,
  cores: number,
): readonly Finding[] {
  if (workers > cores) {
    const detail = `${workers} on a machine with ${cores} cores, where they take turns: set MAYFLY_WORKERS to at most ${cores}`
    return [{ check: 'workers', status: 'warning', detail }]
  }
  const note = workers > 1 && postgresUrl === undefined ? '; of those on SQLite one writes at a time' : ''
  return [{ check: 'workers', status: 'ok', detail: `${workers} for ${cores} cores${note}` }]
}
