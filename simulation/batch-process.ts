/** A batch in a process of its own: gets its parameters as an argument, and tells its parent how far it is, and its result. */
import { runBatch, type BatchParams } from "./batch.ts";

/** Seeds between two messages that tell how far it is. */
const REPORT_EVERY = 100;

const params = JSON.parse(process.argv[2] ?? "{}") as BatchParams;
let done = 0;
const result = await runBatch(params, () => {
  done += 1;
  if (done % REPORT_EVERY === 0) process.send?.(done);
});
await new Promise<void>((resolve, reject) => {
  process.send?.(result, (error: Error | null) => (error === null ? resolve() : reject(error)));
});
process.disconnect();
