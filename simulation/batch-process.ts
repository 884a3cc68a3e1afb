/** A batch in a process of its own: gets its parameters as an argument, and sends its result to its parent. */
import { runBatch, type BatchParams } from "./batch.ts";

const params = JSON.parse(process.argv[2] ?? "{}") as BatchParams;
const result = await runBatch(params, () => undefined);
await new Promise<void>((resolve, reject) => {
  process.send?.(result, (error: Error | null) => (error === null ? resolve() : reject(error)));
});
process.disconnect();
