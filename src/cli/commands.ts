import { auditExplain } from './audit-explain.ts'
import { auditList } from './audit-list.ts'
import { clientCreate } from './client-create.ts'
import { clientDelete } from './client-delete.ts'
import { clientDisable } from './client-disable.ts'
import { clientEnable } from './client-enable.ts'
import { clientList } from './client-list.ts'
import { clientOffboard } from './client-offboard.ts'
import { clientShow } from './client-show.ts'
import { clientUpdate } from './client-update.ts'
import type { Command } from './command.ts'
import { dbAcceptIssuer } from './db-accept-issuer.ts'
import { dbBackup } from './db-backup.ts'
import { dbCheck } from './db-check.ts'
import { dbCopy } from './db-copy.ts'
import { dbMigrate } from './db-migrate.ts'
import { dbRestore } from './db-restore.ts'
import { doctor } from './doctor.ts'
import { keyActivate } from './key-activate.ts'
import { keyExport } from './key-export.ts'
import { keyList } from './key-list.ts'
import { keyRevoke } from './key-revoke.ts'
import { keyRewrap } from './key-rewrap.ts'
import { keyRotate } from './key-rotate.ts'
import { keyRotateRoot } from './key-rotate-root.ts'
import { keyStage } from './key-stage.ts'
import { resourceCreate } from './resource-create.ts'
import { resourceDelete } from './resource-delete.ts'
import { resourceList } from './resource-list.ts'
import { resourceShow } from './resource-show.ts'
import { resourceUpdate } from './resource-update.ts'
import { secretCreate } from './secret-create.ts'
import { secretList } from './secret-list.ts'
import { secretRevoke } from './secret-revoke.ts'
import { serve } from './serve.ts'
import { tokenInspect } from './token-inspect.ts'
import { tokenRevoke } from './token-revoke.ts'

/** Every command, in the order of `--help`. */
export const commands: readonly Command[] = [
  serve,
  resourceCreate,
  resourceList,
  resourceShow,
  resourceUpdate,
  resourceDelete,
  clientCreate,
  clientList,
  clientShow,
  clientUpdate,
  clientDisable,
  clientEnable,
  clientOffboard,
  clientDelete,
  secretCreate,
  secretList,
  secretRevoke,
  keyList,
  keyStage,
  keyActivate,
  keyRotate,
  keyRevoke,
  keyExport,
  keyRewrap,
  keyRotateRoot,
  tokenInspect,
  tokenRevoke,
  auditList,
  auditExplain,
  dbMigrate,
  dbCheck,
  dbBackup,
  dbRestore,
  dbCopy,
  dbAcceptIssuer,
  doctor,
]

/** What the nouns stand for, in `--help`. */
export const nouns: Readonly<Record<string, string>> = {
  resource: 'APIs that tokens are for',
  client: 'workloads that ask for tokens',
  secret: 'what a client proves itself with',
  key: 'the signing keys',
  token: 'single tokens',
  audit: 'what was issued, refused and changed',
  db: 'the database',
}
