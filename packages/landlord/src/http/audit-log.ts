/**
 * Rows of the audit log, written behind the requests: kept in memory for a moment, then inserted in one statement.
 * What a crash loses is that moment; of a write to a tenant the transition, which is in the same transaction as the
 * write, names actor and request all the same.
 */
import { messageOf, UnavailableError } from "../domain/errors.ts";
import type { AccessStore, AuditEntry } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";

export interface AuditLog {
  record(entry: AuditEntry): void;
  /** Writes what is left; gives up when the store does not answer. */
  stop(): Promise<void>;
}

const FLUSH_MS = 200;
const RETRY_MS = 1_000;
/** While the database is away the oldest entries are dropped beyond this, and counted. */
const BUFFER_LIMIT = 10_000;
const BATCH = 1_000;

export function createAuditLog(
  store: Pick<AccessStore, "appendAudit">,
  logger: Logger,
  bufferLimit = BUFFER_LIMIT,
): AuditLog {
  let buffer: AuditEntry[] = [];
  let timer: NodeJS.Timeout | null = null;
  let writing: Promise<boolean> = Promise.resolve(true);
  let dropped = 0;

  function schedule(delayMs: number): void {
    timer ??= setTimeout(() => {
      timer = null;
      writing = write();
      void writing.then((isDone) => {
        if (buffer.length > 0) schedule(isDone ? FLUSH_MS : RETRY_MS);
      });
    }, delayMs).unref();
  }

  /** False when the store does not answer. */
  async function write(): Promise<boolean> {
    let size = BATCH;
    while (buffer.length > 0) {
      const batch = buffer.splice(0, size);
      try {
        await store.appendAudit({ entries: batch });
      } catch (error) {
        if (!(error instanceof UnavailableError) && batch.length === 1) {
          logger.error(
            { error: messageOf(error), action: batch[0]?.action },
            "audit entry refused by the store",
          );
          continue;
        }
        // Written twice when only the answer was lost: of the two errors of an audit log the better one.
        buffer = [...batch, ...buffer];
        if (!(error instanceof UnavailableError)) {
          // One that cannot be kept must not hold up the others.
          size = 1;
          continue;
        }
        bound();
        logger.warn(
          { error: messageOf(error), entries: buffer.length },
          "audit entries not written yet; trying again",
        );
        return false;
      }
    }
    if (dropped > 0) logger.error({ dropped }, "audit entries were lost while the database was away");
    dropped = 0;
    return true;
  }

  function bound(): void {
    if (buffer.length <= bufferLimit) return;
    if (dropped === 0)
      logger.error({ limit: bufferLimit }, "too many audit entries wait; the oldest are dropped");
    dropped += buffer.length - bufferLimit;
    buffer = buffer.slice(-bufferLimit);
  }

  return {
    record(entry) {
      buffer.push(entry);
      // A tenth at a time: cutting one off a long array for each entry would cost more than the entry.
      if (buffer.length >= bufferLimit * 1.1) bound();
      schedule(FLUSH_MS);
    },
    async stop() {
      if (timer !== null) clearTimeout(timer);
      await writing;
      await write();
      if (buffer.length > 0) logger.error({ dropped: buffer.length }, "audit entries were lost at the stop");
    },
  };
}
