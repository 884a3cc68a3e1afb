/** A supervisor process for tests that kill it: starts one embedded part, prints it as JSON, and stays. */
import { startEmbeddedPostgres } from "../../src/store/embedded/embedded-postgres.ts";
import { startEmbeddedRestate } from "../../src/workflow/restate/embedded/embedded-restate.ts";

const [kind, dataDir = ""] = process.argv.slice(2);
const common = { dataDir, logFile: `${dataDir}.log`, log: { info: () => undefined, warn: () => undefined } };
const started =
  kind === "postgres"
    ? await startEmbeddedPostgres({ ...common, port: null })
    : await startEmbeddedRestate({ ...common, ports: null, requestIdentityKeyFile: null });
process.stdout.write(`${JSON.stringify(started)}\n`);
setInterval(() => undefined, 1000);
