/** A worker process for tests that kill it: applies one spec, given as JSON, and says how it went. */
import { processComputeFactory } from "../../src/compute/process/factory.ts";
import type { ComputeSpec } from "../../src/compute/provider.ts";

const { dataDir, spec } = JSON.parse(process.argv[2] ?? "") as { dataDir: string; spec: ComputeSpec };
const provider = await processComputeFactory.create({ data_dir: dataDir }, { dataDir });
process.stdout.write("ready\n");
const result = await provider.apply(spec, { idempotencyKey: "key", signal: new AbortController().signal });
process.stdout.write(`${result.kind}\n`);
