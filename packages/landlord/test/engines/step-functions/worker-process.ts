/** A worker as an operating system process, for tests that kill or stop it. Its compute hangs in the first look. */
import { scriptedCompute } from "../../../src/plugin/testing.ts";
import { stepFunctionsWorker } from "./kit.ts";

const { endpoint, namePrefix } = JSON.parse(process.argv[2] ?? "") as {
  endpoint: string;
  namePrefix: string;
};
const compute = scriptedCompute((_call, signal) => {
  process.stdout.write("applying\n");
  return new Promise((_resolve, reject) =>
    signal.addEventListener("abort", () => {
      process.stdout.write("aborted\n");
      reject(new Error("aborted"));
    }),
  );
});
const worker = stepFunctionsWorker(endpoint, namePrefix, compute, { pollers: 1 });
await worker.start();
await worker.register(AbortSignal.timeout(30_000));
process.stdout.write("ready\n");
process.once("SIGTERM", () => void worker.stop().then(() => process.exit(0)));
